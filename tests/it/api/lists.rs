//! Pages of events are bounded by bytes, and so is the memory they take.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::PHONE;
use crate::support::{
    app::{App, Client, WAIT_MAX, eventually},
    receiver::{Receiver, Reply},
};

const EVENTS: usize = 60;
const TEXT_BYTES: usize = 400_000;
const MIB: u64 = 1 << 20;

/// Publishes so many large messages, and waits until all are on record.
async fn large_events(client: &Client, webhook: &Value, count: usize) {
    let text = "x".repeat(TEXT_BYTES);
    for number in 0..count {
        let body = json!({
            "phone_number": PHONE, "message_id": format!("M{number}"), "from": "1",
            "type": "text", "metadata": {"text": text},
        });
        let (status, answer) = client.call("POST", "/api/messages", Some(body)).await;
        assert_eq!(status, 202, "{answer}");
    }
    eventually("all are on record", async || {
        (walk(client, webhook, "limit=250").await.len() == count).then_some(())
    })
    .await;
}

/// The pages of a list, until there are no more; all events.
async fn walk(client: &Client, webhook: &Value, query: &str) -> Vec<Value> {
    let id = webhook["id"].as_str().expect("an id");
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/api/webhooks/{id}/events?{query}{cursor}");
        let page = client.get(&path).await;
        all.extend(page["data"].as_array().expect("a list").clone());
        let Some(next) = page["next_cursor"].as_str() else {
            assert_eq!(page["has_more"], false);
            return all;
        };
        assert_eq!(page["has_more"], true);
        cursor = format!("&cursor={next}");
    }
}

/// Asks, and reads nothing.
async fn only_ask(app: &App, client: &Client, path: &str) -> TcpStream {
    let address = app.api.strip_prefix("http://").expect("an http URL");
    let mut stream = TcpStream::connect(address).await.expect("connects");
    let request = format!(
        "GET {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer {}\r\n\r\n",
        client.token
    );
    stream.write_all(request.as_bytes()).await.expect("writes");
    stream
}

/// Asks and reads no more than the first byte.
async fn ask(app: &App, client: &Client, path: &str) -> TcpStream {
    let mut stream = only_ask(app, client, path).await;
    let read = timeout(WAIT_MAX, stream.read_u8());
    read.await.expect("in time").expect("an answer");
    stream
}

#[tokio::test(flavor = "multi_thread")]
async fn large_events_come_in_pages_of_few_bytes() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    large_events(&client, &webhook, EVENTS).await;
    let id = webhook["id"].as_str().expect("an id");
    let path = format!("/api/webhooks/{id}/events?limit=250&include=payload");

    let page = client.get(&path).await;
    let shown = page["data"].as_array().expect("a list");
    let bytes = TEXT_BYTES * shown.len();
    assert!((4 << 20..6 << 20).contains(&bytes), "{bytes}");
    assert_eq!(
        shown[0]["payload"]["metadata"]["text"]
            .as_str()
            .map(str::len),
        Some(TEXT_BYTES)
    );
    let listed = walk(&client, &webhook, "limit=250").await;
    assert!(listed[0].get("payload").is_none() && listed[0].get("content").is_none());
    let mut ids: Vec<_> = listed.iter().map(|event| event["id"].to_string()).collect();
    ids.dedup();
    assert_eq!(ids.len(), EVENTS, "each once");

    let growth = app
        .rss_growth(async {
            let asked = (0..4).map(|_| ask(&app, &client, &path));
            let _unread = join_all(asked).await;
        })
        .await;
    assert!(growth < 150 * MIB, "{} MiB", growth / MIB);
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_that_a_client_does_not_read_keep_none_from_another() {
    // Longer than the other client waits.
    let app = App::with(&[("API__WRITE_TIMEOUT", "2m")]).await;
    let receiver = Receiver::answering(&[200]).await;
    let mut clients = Vec::new();
    for number in [1, 2] {
        let client = app.client(number).await;
        let webhook = client.register(PHONE, &receiver.url("/")).await;
        large_events(&client, &webhook, 12).await;
        let id = webhook["id"].as_str().expect("an id");
        let path = format!("/api/webhooks/{id}/events?limit=250&include=payload");
        clients.push((client, path));
    }
    let [(greedy, asked), (other, path)] = &clients[..] else {
        panic!("two clients");
    };
    let requests = (0..24).map(|_| only_ask(&app, greedy, asked));
    let unread = join_all(requests).await;
    ask(&app, greedy, "/api/webhooks/list").await;
    let page = timeout(WAIT_MAX, other.get(path))
        .await
        .expect("a page in time");
    let length = page["data"].as_array().map_or(0, Vec::len);
    assert!(length >= 10, "as many as fit into a page: {length}");
    drop(unread);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_by_hand_makes_no_copy_of_what_is_on_its_way() {
    let app = App::with(&[("DELIVER__TIMEOUT", "10s")]).await;
    let client = app.client(1).await;
    let late = Reply::Late(Duration::from_secs(2), 400);
    let receiver = Receiver::start([Reply::status(503), late, Reply::status(200)]).await;
    let body = json!({
        "phone_number": PHONE, "webhook_url": receiver.url("/"), "retry_schedule": [1, 3600],
    });
    let webhook = client.register_with(body).await;
    client.publish(PHONE, "M1").await;
    let event = client.event_when(&webhook, "M1", "pending").await;
    let retry = format!(
        "/api/webhooks/events/{}/retry",
        event["id"].as_str().expect("an id")
    );
    receiver.wait_for(2).await;
    let (status, problem) = client.call("POST", &retry, None).await;
    assert_eq!(
        (status, &problem["code"]),
        (409, &json!("in_flight")),
        "{problem}"
    );
    client.event_when(&webhook, "M1", "failed").await;

    // Asked for many times at once, it goes once.
    let answers = join_all((0..8).map(|_| client.call("POST", &retry, None))).await;
    assert!(
        answers
            .iter()
            .all(|(status, _)| [202, 409].contains(status)),
        "{answers:?}"
    );
    let event = client.event_when(&webhook, "M1", "delivered").await;
    assert_eq!(event["attempt_count"], 3, "{event}");
    assert_eq!(receiver.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_by_hand_of_a_held_event_releases_it() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let body = json!({
        "phone_number": PHONE, "webhook_url": receiver.url("/"), "is_active": false,
        "rate_per_second": 1, "burst": 1,
    });
    let webhook = client.register_with(body).await;
    for number in 1..=6 {
        client.publish(PHONE, &format!("M{number}")).await;
    }
    let last = client.event_when(&webhook, "M6", "pending").await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let (status, _) = client
        .call("PATCH", &path, Some(json!({"is_active": true})))
        .await;
    assert_eq!(status, 200);
    let retry = format!(
        "/api/webhooks/events/{}/retry",
        last["id"].as_str().expect("an id")
    );
    let (status, answer) = client.call("POST", &retry, None).await;
    assert_eq!(status, 202, "{answer}");
    for number in 1..=6 {
        client
            .event_when(&webhook, &format!("M{number}"), "delivered")
            .await;
    }
    let mut ids = receiver.ids();
    ids.sort();
    assert_eq!(ids, ["M1", "M2", "M3", "M4", "M5", "M6"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_the_webhook_does_not_want_are_skipped() {
    let app = App::start().await;
    let client = app.client(1).await;
    let url = "http://127.0.0.1:1/";
    let body = json!({"phone_number": PHONE, "webhook_url": url, "event_types": ["receipt"]});
    client.register_with(body).await;
    let answer = client.publish(PHONE, "M1").await;
    assert_eq!(
        (&answer["status"], &answer["sequence"]),
        (&json!("skipped"), &Value::Null)
    );
    client.register("4915112345679", url).await;
    let answer = client
        .publish_from("4915112345679", "1", "M2", "receipt")
        .await;
    assert_eq!(answer["status"], "skipped");
    assert_eq!(app.nats.messages("WA_MSG").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_and_is_not_wanted_any_more_ends_in_the_audit() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[503]).await;
    let body = json!({
        "phone_number": PHONE, "webhook_url": receiver.url("/"), "retry_schedule": [3600],
    });
    let webhook = client.register_with(body).await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    client.publish(PHONE, "M1").await;
    let parked = client.event_when(&webhook, "M1", "pending").await;
    // The second one is accepted, and held.
    let pause = json!({"is_active": false});
    assert_eq!(client.call("PATCH", &path, Some(pause)).await.0, 200);
    client.publish(PHONE, "M2").await;
    client.event_when(&webhook, "M2", "pending").await;

    let narrow = json!({"event_types": ["receipt"], "is_active": true});
    assert_eq!(client.call("PATCH", &path, Some(narrow)).await.0, 200);
    let retry = format!(
        "/api/webhooks/events/{}/retry",
        parked["id"].as_str().expect("an id")
    );
    assert_eq!(client.call("POST", &retry, None).await.0, 202);
    for message in ["M1", "M2"] {
        let event = client.event_when(&webhook, message, "failed").await;
        let error = event["error"].as_str().expect("a text");
        assert!(error.contains("event_types"), "{error}");
        assert_eq!(event["next_retry_at"], Value::Null);
    }
    assert_eq!(receiver.received().len(), 1, "only the first attempt of M1");
    let shown = client.get(&path).await;
    assert_eq!(
        (&shown["status"], &shown["failure_count"]),
        (&json!("active"), &json!(1)),
        "no request was made for them"
    );
}
