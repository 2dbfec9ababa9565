//! Bodies and headers in the formats of other gateways, from the API to the receiver and in the
//! audit.

use hmac::{Hmac, Mac};
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};

use crate::support::{
    app::App,
    receiver::{Received, Receiver, Reply},
};

const PHONE: &str = "4915112345678";

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As Meta's receivers do it: the secret's text is the key.
fn hub_signed(received: &Received, secret: &str) -> bool {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
    mac.update(&received.body);
    received.header("x-hub-signature-256")
        == format!("sha256={}", hex(&mac.finalize().into_bytes()))
}

/// As WAHA's receivers do it.
fn waha_signed(received: &Received, secret: &str) -> bool {
    let mut mac = Hmac::<Sha512>::new_from_slice(secret.as_bytes()).expect("any length will do");
    mac.update(&received.body);
    received.header("x-webhook-hmac-algorithm") == "sha512"
        && received.header("x-webhook-hmac") == hex(&mac.finalize().into_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn each_format_arrives_signed_as_its_receivers_check_it_and_is_shown_in_the_audit() {
    let app = App::start().await;
    let client = app.client(1).await;
    for (number, format) in ["native", "waha", "evolution", "cloud"]
        .into_iter()
        .enumerate()
    {
        let receiver = Receiver::answering(&[200]).await;
        let phone = format!("491511234560{number}");
        let webhook = client
            .register_with(
                json!({"phone_number": phone, "webhook_url": receiver.url("/"), "format": format}),
            )
            .await;
        assert_eq!(webhook["format"], format);
        let secret = webhook["signing_secret"].as_str().expect("shown once");
        client.publish(&phone, "M1").await;
        let event = client.event_when(&webhook, "M1", "delivered").await;
        let shown = (&event["from"], &event["to"], &event["content"]);
        assert_eq!(
            shown,
            (&json!("4915100000001"), &json!(phone), &json!("hello M1")),
            "{format}"
        );
        let received = receiver.received().remove(0);
        assert_eq!(event["payload"], received.json(), "{format}");
        assert!(
            received.signed_by(secret),
            "every format is signed as Standard Webhooks asks, too: {format}"
        );
        assert_eq!(hub_signed(&received, secret), format == "cloud", "{format}");
        assert_eq!(waha_signed(&received, secret), format == "waha", "{format}");
        let at = match format {
            "native" => "/content",
            "waha" => "/payload/body",
            "evolution" => "/data/message/conversation",
            _ => "/entry/0/changes/0/value/messages/0/text/body",
        };
        let text = received.json().pointer(at).cloned().unwrap_or_default();
        assert_eq!(text, "hello M1", "{format}");
        if format == "waha" {
            assert_eq!(received.json()["id"], event["id"], "the id of the API");
            assert_eq!(
                received.header("x-webhook-request-id"),
                format!("{}-1", received.header("webhook-id"))
            );
        }
        let path = format!(
            "/api/webhooks/{}/test",
            webhook["id"].as_str().expect("an id")
        );
        assert_eq!(client.call("POST", &path, None).await.0, 202);
        receiver.wait_for(2).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_that_there_is_not_is_named() {
    let app = App::playing("api", &[]).await;
    let client = app.client(1).await;
    let wrong =
        json!({"phone_number": PHONE, "webhook_url": "http://127.0.0.1:9/", "format": "xml"});
    let (status, answer) = client
        .call("POST", "/api/webhooks/register", Some(wrong))
        .await;
    assert_eq!(
        (status, &answer["errors"][0]["pointer"]),
        (400, &json!("/format"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_format_is_for_new_messages_and_a_retry_keeps_its_bytes() {
    let app = App::with(&[("DELIVER__RETRY_BASE", "2s")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(503), Reply::status(200)]).await;
    let webhook = client
        .register_with(
            json!({"phone_number": PHONE, "webhook_url": receiver.url("/"), "format": "cloud"}),
        )
        .await;
    let secret = webhook["signing_secret"].as_str().expect("shown once");
    client.publish(PHONE, "M1").await;
    receiver.wait_for(1).await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let (status, changed) = client
        .call("PATCH", &path, Some(json!({"format": "waha"})))
        .await;
    assert_eq!((status, &changed["format"]), (200, &json!("waha")));
    client.publish(PHONE, "M2").await;
    client.event_when(&webhook, "M2", "delivered").await;
    client.event_when(&webhook, "M1", "delivered").await;
    let received = receiver.received();
    let (cloud, waha): (Vec<_>, Vec<_>) = received
        .iter()
        .partition(|one| one.json()["object"] == "whatsapp_business_account");
    assert_eq!((cloud.len(), waha.len()), (2, 1));
    assert_eq!(cloud[0].body, cloud[1].body);
    assert!(
        cloud
            .iter()
            .all(|one| hub_signed(one, secret) && one.header("x-webhook-hmac").is_empty())
    );
    assert!(waha_signed(waha[0], secret) && waha[0].header("x-hub-signature-256").is_empty());
    let events = client.events(&webhook).await;
    let payload = |id: &str| -> &Value {
        &events
            .iter()
            .find(|event| event["message_id"] == id)
            .expect("an event")["payload"]
    };
    assert_eq!(payload("M1")["object"], "whatsapp_business_account");
    assert_eq!(payload("M2")["event"], "message");
}
