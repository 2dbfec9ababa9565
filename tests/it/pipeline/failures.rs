//! What goes wrong at an endpoint, and what is done about it.

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

use crate::support::{
    app::{App, Client, eventually},
    receiver::{Receiver, Reply},
};

const PHONE: &str = "4915112345678";

/// One message to this endpoint without any retry; its first attempt, and what the event shows
/// after it.
async fn first_attempt(app: &App, client: &Client, phone: &str, url: &str) -> (Value, Value) {
    let webhook = client
        .register_with(json!({"phone_number": phone, "webhook_url": url, "max_retries": 1}))
        .await;
    client.publish(phone, "M1").await;
    let event = eventually("an attempt is recorded", async || {
        client.events(&webhook).await.pop()
    })
    .await;
    let path = format!(
        "/api/webhooks/events/{}",
        event["id"].as_str().expect("an id")
    );
    let event = client.get(&path).await;
    assert!(!app.api.is_empty());
    (event["attempts"][0].clone(), event)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_final_and_goes_to_the_dead_letters() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[400]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;
    let event = client.event_when(&webhook, "M1", "failed").await;
    assert_eq!(
        (&event["attempt_count"], &event["http_status"]),
        (&json!(1), &json!(400))
    );
    assert!(event["next_retry_at"].is_null());
    let letters = client.get("/api/dead-letters").await;
    assert_eq!(letters["data"][0]["id"], event["id"]);
    assert_eq!(app.nats.messages("WA_DLQ").await, 1);
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn redirects_are_not_followed() {
    let app = App::start().await;
    let client = app.client(1).await;
    let target = Receiver::answering(&[200]).await;
    let receiver = Receiver::start([Reply::Status(
        307,
        vec![("location", target.url("/inside"))],
    )])
    .await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;
    let event = client.event_when(&webhook, "M1", "failed").await;
    assert_eq!(event["http_status"], 307);
    assert_eq!(target.received().len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn status_410_disables_the_webhook_at_once() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[410]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;
    client.event_when(&webhook, "M1", "failed").await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let shown = client.get(&path).await;
    assert_eq!(
        (&shown["status"], &shown["disabled_reason"]),
        (&json!("disabled"), &json!("gone"))
    );
    client.publish(PHONE, "M2").await;
    client.event_when(&webhook, "M2", "pending").await;
    assert_eq!(receiver.received().len(), 1, "the second message is held");
}

#[tokio::test(flavor = "multi_thread")]
async fn exhausted_retries_end_in_the_dead_letters_and_a_retry_by_hand_heals() {
    let app = App::with(&[("DELIVER__RETRY_BASE", "200ms")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[503]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;
    let event = client.event_when(&webhook, "M1", "failed").await;
    assert_eq!(event["attempt_count"], 4, "one try and three retries");
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let shown = client.get(&path).await;
    assert_eq!(
        (&shown["status"], &shown["failure_count"]),
        (&json!("failed"), &json!(4))
    );
    assert!(shown["last_error"].is_string());
    assert_eq!(app.nats.messages("WA_DLQ").await, 1);

    receiver.reply(Reply::status(200));
    let retry = format!(
        "/api/webhooks/events/{}/retry",
        event["id"].as_str().expect("an id")
    );
    assert_eq!(client.call("POST", &retry, None).await.0, 202);
    let event = client.event_when(&webhook, "M1", "delivered").await;
    assert_eq!(event["attempt_count"], 5);
    let shown = client.get(&path).await;
    assert_eq!(
        (&shown["status"], &shown["failure_count"]),
        (&json!("active"), &json!(0))
    );
    assert_eq!(client.get("/api/dead-letters").await["data"], json!([]));
    let received = receiver.received();
    assert!(
        received.windows(2).all(|two| two[0].body == two[1].body),
        "the same bytes at every attempt"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_whose_connection_breaks_is_retried() {
    let app = App::with(&[("DELIVER__TIMEOUT", "1s"), ("DELIVER__RETRY_BASE", "200ms")]).await;
    let client = app.client(1).await;

    let hanging = Receiver::start([Reply::Hang]).await;
    let (attempt, event) = first_attempt(&app, &client, "4915112345601", &hanging.url("/")).await;
    assert_eq!(attempt["outcome"], "timeout", "{event}");
    assert_eq!(
        attempt["status"], "sent",
        "fully written, no answer: unconfirmed"
    );

    let reset = broken_endpoint(|_| None).await;
    let (attempt, event) = first_attempt(&app, &client, "4915112345602", &reset).await;
    assert_eq!(attempt["outcome"], "reset", "{event}");

    let (attempt, event) = first_attempt(
        &app,
        &client,
        "4915112345603",
        "http://no-such-host.invalid/hook",
    )
    .await;
    // A tenant is not told that the name is absent: it could find the private ones that way.
    assert_eq!(attempt["outcome"], "connect", "{event}");

    let plain = broken_endpoint(|_| Some("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")).await;
    let (attempt, event) = first_attempt(
        &app,
        &client,
        "4915112345604",
        &plain.replace("http://", "https://"),
    )
    .await;
    assert_eq!(attempt["outcome"], "tls", "{event}");

    for phone in [
        "4915112345601",
        "4915112345602",
        "4915112345603",
        "4915112345604",
    ] {
        let list = client.get("/api/webhooks/list").await;
        let webhook = list["data"]
            .as_array()
            .expect("a list")
            .iter()
            .find(|one| one["phone_number"] == phone);
        let event = client
            .event_when(webhook.expect("registered"), "M1", "failed")
            .await;
        assert_eq!(event["attempt_count"], 2, "retried once, as asked: {event}");
    }
}

/// Reads a request's first bytes, answers as told and closes; its http URL.
async fn broken_endpoint(answer: fn(&[u8]) -> Option<&'static str>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            if let Some(text) = answer(&buffer[..read]) {
                // The other side may be gone already: it expected TLS.
                let _ = stream.write_all(text.as_bytes()).await;
            }
        }
    });
    url
}
