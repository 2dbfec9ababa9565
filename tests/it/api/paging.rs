//! Every list comes in pages.

use serde_json::{Value, json};

use crate::support::app::{App, Client, eventually};

/// All pages of a list, each as the values of one field.
async fn pages(client: &Client, path: &str, limit: usize, field: &str) -> Vec<Vec<Value>> {
    let mut pages = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = client.get(&format!("{path}?limit={limit}{cursor}")).await;
        let data = page["data"].as_array().expect("a list");
        assert!(data.len() <= limit, "{path}: {}", data.len());
        pages.push(data.iter().map(|one| one[field].clone()).collect());
        let Some(next) = page["next_cursor"].as_str() else {
            assert_eq!(page["has_more"], false);
            return pages;
        };
        assert_eq!(page["has_more"], true);
        cursor = format!("&cursor={next}");
    }
}

/// Checks that pages of two have all of these values once, in this order.
async fn assert_paged(client: &Client, path: &str, field: &str, expected: &[Value]) {
    let pages = pages(client, path, 2, field).await;
    let full = expected.len() / 2;
    assert!(pages[..full].iter().all(|page| page.len() == 2), "{path}");
    assert_eq!(pages.concat(), expected, "{path}");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_sessions_and_replays_come_in_pages() {
    let app = App::start().await;
    let client = app.client(1).await;
    let stranger = app.client(2).await;

    // Numbers of different lengths: their order is that of the texts.
    let phones = [
        "491510000000",
        "4915100000001",
        "4915100000002",
        "49152",
        "4916",
    ];
    let phones = phones.map(|phone| format!("{phone:0<5}"));
    for phone in phones.iter().rev() {
        client.register(phone, "http://127.0.0.1:1/").await;
        stranger.register(phone, "http://127.0.0.1:1/").await;
    }
    let expected = phones.map(Value::from);
    assert_paged(&client, "/api/webhooks/list", "phone_number", &expected).await;

    let mut sessions = Vec::new();
    for _ in 0..5 {
        let (status, session) = client.call("POST", "/api/sessions", Some(json!({}))).await;
        assert_eq!(status, 201, "{session}");
        sessions.push(session["id"].clone());
    }
    assert_paged(&client, "/api/sessions", "id", &sessions).await;

    let mut replays = Vec::new();
    for _ in 0..5 {
        let (status, replay) = client.call("POST", "/api/replays", Some(json!({}))).await;
        assert_eq!(status, 202, "{replay}");
        replays.push(replay["id"].clone());
    }
    let whole = client.get("/api/replays").await;
    let whole = whole["data"].as_array().expect("a list");
    let newest_first: Vec<Value> = whole.iter().map(|replay| replay["id"].clone()).collect();
    assert!(replays.iter().all(|id| newest_first.contains(id)));
    assert_paged(&client, "/api/replays", "id", &newest_first).await;

    for path in ["/api/webhooks/list", "/api/sessions", "/api/replays"] {
        let page = client.get(&format!("{path}?limit=2")).await;
        let cursor = page["next_cursor"].as_str().expect("more than two");
        let (_, refused) = stranger
            .call("GET", &format!("{path}?cursor={cursor}"), None)
            .await;
        assert_eq!(refused["code"], "invalid_cursor", "{path}");
        for wrong in [
            "limit=0",
            "limit=251",
            "limit=x",
            "limit=1&limit=2",
            "offset=1",
        ] {
            let (status, _) = client.call("GET", &format!("{path}?{wrong}"), None).await;
            assert_eq!(status, 400, "{path}?{wrong}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_webhooks_with_much_metadata_ends_early() {
    const WEBHOOKS: usize = 80;
    let app = App::with(&[("API__REGISTRATIONS_PER_MINUTE", "1000")]).await;
    let client = app.client(1).await;
    let notes = "x".repeat(16_000);
    for number in 0..WEBHOOKS {
        let body = json!({
            "phone_number": format!("49151{number:08}"), "webhook_url": "http://127.0.0.1:1/",
            "metadata": {"notes": notes},
        });
        client.register_with(body).await;
    }
    let pages = eventually("all are listed", async || {
        let pages = pages(&client, "/api/webhooks/list", 250, "phone_number").await;
        (pages.concat().len() == WEBHOOKS).then_some(pages)
    })
    .await;
    assert_eq!(pages.len(), 2, "a page has one mebibyte");
    assert!(pages.concat().is_sorted_by_key(|phone| phone.to_string()));
}
