//! Fields of a webhook that are set, changed and taken back.

use serde_json::json;

use super::PHONE;
use crate::support::app::App;

const OTHER_PHONE: &str = "4915112345679";

#[tokio::test(flavor = "multi_thread")]
async fn options_of_a_format_are_shown_changed_dropped_and_checked() {
    let app = App::playing("api", &[]).await;
    let client = app.client(1).await;
    let webhook = client
        .register_with(json!({
            "phone_number": PHONE, "webhook_url": "https://example.com/", "format": "waha",
            "format_options": {"session": "default", "instance": "shop"},
        }))
        .await;
    let shown = json!({"session": "default", "instance": "shop"});
    assert_eq!(webhook["format_options"], shown);
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let change = json!({"format_options": {"instance": null, "server_url": "https://a.b/"}});
    let (status, changed) = client.call("PATCH", &path, Some(change)).await;
    let shown = json!({"session": "default", "server_url": "https://a.b/"});
    assert_eq!((status, &changed["format_options"]), (200, &shown));
    for (name, value) in [
        ("sesion", json!("x")),
        ("session", json!("")),
        ("session", json!("a\nb")),
        ("session", json!("x".repeat(257))),
        ("message_event", json!("any")),
        ("a/b~c", json!("x")),
    ] {
        let change = json!({"format_options": {name: value}});
        let (status, answer) = client.call("PATCH", &path, Some(change)).await;
        let pointer = format!(
            "/format_options/{}",
            name.replace('~', "~0").replace('/', "~1")
        );
        let told = answer["errors"][0]["pointer"].as_str();
        assert_eq!((status, told), (400, Some(pointer.as_str())), "{answer}");
    }
    assert_eq!(client.get(&path).await["format_options"], shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn null_takes_a_field_back_to_its_default_and_leaves_the_others() {
    let app = App::playing("api", &[("DELIVER__RATE_PER_SECOND", "77")]).await;
    let client = app.client(1).await;
    let url = "https://example.com/";
    let set = json!({
        "phone_number": PHONE, "webhook_url": url, "max_retries": 2, "rate_per_second": 5,
        "burst": 100, "in_flight": 3, "retry_schedule": [5], "ordering": "chat",
        "event_types": ["receipt"], "format": "waha", "format_options": {"session": "s"},
        "signature": "both", "headers": {"x-mine": "1"}, "metadata": {"note": "n"},
    });
    let default = client.register(OTHER_PHONE, url).await;
    let webhook = client.register_with(set).await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    // In an order in which each stands for itself: a burst follows the rate.
    for field in [
        "retry_schedule",
        "max_retries",
        "rate_per_second",
        "burst",
        "in_flight",
        "ordering",
        "event_types",
        "format",
        "format_options",
        "signature",
        "headers",
        "metadata",
    ] {
        let before = client.get(&path).await;
        assert_ne!(before[field], default[field], "{field}");
        let (status, after) = client
            .call("PATCH", &path, Some(json!({field: null})))
            .await;
        assert_eq!(
            (status, &after[field]),
            (200, &default[field]),
            "{field}: {after}"
        );
    }
    let after = client.get(&path).await;
    assert_eq!(
        (&after["webhook_url"], &after["rate_per_second"]),
        (&json!(url), &json!(77))
    );
    let keep = json!({"webhook_url": null, "is_active": null});
    let (status, after) = client.call("PATCH", &path, Some(keep)).await;
    assert_eq!((status, &after["webhook_url"]), (200, &json!(url)));
    assert_eq!(after["is_active"], true);
}
