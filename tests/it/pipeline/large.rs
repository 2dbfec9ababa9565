//! Messages as large as the API takes them, made so that a body in some format would multiply.
//! Whatever their endpoint answers, each ends on record, and the node's memory is bounded.

use std::path::Path;

use serde_json::{Map, Value, json};
use wahook::wire::BODY_BYTES_MAX;

use crate::support::{
    app::{App, Client, eventually},
    nats::NatsServer,
    receiver::Receiver,
};

const FORMATS: [&str; 4] = ["native", "waha", "evolution", "cloud"];
/// What endpoints answer; 0 stands for a paused webhook.
const ANSWERS: [u16; 4] = [204, 400, 500, 0];
/// A request of the API is refused beyond 512 KiB.
const METADATA_BYTES: usize = 500 * 1000;
/// Of a debug build. One message took 714 MiB when nothing bounded it.
const PEAK_RSS_BYTES_MAX: u64 = 400 << 20;

/// An entry as often as it fits, and no more often than metadata may have values.
fn repeated(entry: Value, values_per_entry: usize) -> Value {
    let bytes = entry.to_string().len() + 1;
    let most = 19_000 / values_per_entry;
    vec![entry; most.min(METADATA_BYTES / bytes)].into()
}

fn long(letter: &str) -> String {
    let bytes = json!(letter).to_string().len() - 2;
    letter.repeat(METADATA_BYTES / bytes)
}

/// Type and metadata of messages that grow.
fn shapes() -> Vec<(&'static str, Value)> {
    let numbers = "TEL;waid=:\n".repeat(METADATA_BYTES / 12);
    vec![
        ("text", json!({"raw": long("\u{1}")})),
        ("text", json!({"raw": repeated(json!(1e15), 1)})),
        ("text", json!({"mentions": repeated(json!("a"), 1)})),
        (
            "text",
            json!({"chat": format!("{}@g.us", long("1")), "is_group": true}),
        ),
        ("contact", json!({"contacts": repeated(json!(0), 1)})),
        ("contact", json!({"contacts": [{"vcard": numbers}]})),
        (
            "contact",
            json!({"contacts": repeated(json!({"vcard": "TEL:\n"}), 2)}),
        ),
        ("location", json!({"location": {"name": long("\u{2}")}})),
        (
            "location",
            json!({"location": {"latitude": repeated(json!({"": 0}), 2)}}),
        ),
        (
            "image",
            json!({"media": {"id": long("x"), "mime_type": "a"}}),
        ),
        (
            "list_reply",
            json!({"list": {"row_id": long("\""), "description": []}}),
        ),
        (
            "poll",
            json!({"poll": {"options": repeated(json!(""), 1), "selectable": 1}}),
        ),
        (
            "reaction",
            json!({"chat": long("2"), "reaction": {"message_id": "M"}}),
        ),
        ("revoke", json!({"revoked_message_id": long("\\")})),
    ]
}

fn message(phone: &str, id: &str, kind: &str, metadata: Value) -> Value {
    json!({
        "phone_number": phone, "message_id": id, "from": "4915100000001", "type": kind,
        "content": "hello", "metadata": metadata,
    })
}

async fn publish(client: &Client, body: Value) {
    let (status, answer) = client.call("POST", "/api/messages", Some(body)).await;
    assert_eq!(status, 202, "{answer}");
}

/// The newest attempt's outcome of each event, by the message's id.
async fn outcomes(client: &Client, webhook: &Value) -> Map<String, Value> {
    let id = webhook["id"].as_str().expect("an id");
    let mut found = Map::new();
    let mut path = format!("/api/webhooks/{id}/events?limit=4");
    loop {
        let page = client.get(&path).await;
        for event in page["data"].as_array().expect("a list") {
            let message = event["message_id"].as_str().expect("an id").to_owned();
            let from = &event["from"];
            assert_eq!(from, "4915100000001", "the sender is shown: {message}");
            found.insert(message, event["status"].clone());
        }
        let Some(cursor) = page["next_cursor"].as_str() else {
            return found;
        };
        path = format!("/api/webhooks/{id}/events?limit=4&cursor={cursor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_that_grow_end_on_record_in_every_format() {
    // Fourteen failures in a row are no reason to wait here.
    let app = App::with(&[("DELIVER__BREAKER_FAILURES", "1000")]).await;
    let client = app.client(1).await;
    let shapes = shapes();
    let mut webhooks = Vec::new();
    for (row, format) in FORMATS.into_iter().enumerate() {
        for (column, answer) in ANSWERS.into_iter().enumerate() {
            let receiver = Receiver::answering(&[answer.max(200)]).await;
            let phone = format!("49151123456{row}{column}");
            let body = json!({
                "phone_number": phone, "webhook_url": receiver.url("/"), "format": format,
                "is_active": answer != 0, "retry_schedule": [1],
            });
            let webhook = client.register_with(body).await;
            webhooks.push((format, answer, phone, webhook, receiver));
        }
    }
    for (_, _, phone, ..) in &webhooks {
        for (index, (kind, metadata)) in shapes.iter().enumerate() {
            let body = message(phone, &format!("M{index}"), kind, metadata.clone());
            publish(&client, body).await;
        }
    }
    for (format, answer, _, webhook, receiver) in &webhooks {
        let status = match answer {
            204 => "delivered",
            0 => "pending",
            _ => "failed",
        };
        eventually(&format!("{format} that answers {answer}"), async || {
            let found = outcomes(&client, webhook).await;
            let is_done = found.len() == shapes.len() && found.values().all(|is| is == status);
            is_done.then_some(())
        })
        .await;
        let posts = match answer {
            0 => 0,
            500 => 2,
            _ => 1,
        };
        let received = receiver.received();
        assert_eq!(received.len(), posts * shapes.len(), "{format} {answer}");
        for request in received {
            let bytes = request.body.len();
            assert!(bytes <= BODY_BYTES_MAX, "{format} {answer}: {bytes} bytes");
            request.json();
        }
    }
    let letters = FORMATS.len() * 2 * shapes.len();
    assert_eq!(app.nats.messages("WA_DLQ").await, letters as u64);
    let held = FORMATS.len() * shapes.len();
    assert_eq!(app.nats.messages("WA_HOLD").await, held as u64);
    assert_eq!(app.nats.messages("WA_MSG").await, 0);
    assert_eq!(app.nats.messages("WA_RETRY").await, 0);
    let peak = app.peak_rss_bytes();
    eprintln!("peak RSS: {} MiB", peak >> 20);
    assert!(peak <= PEAK_RSS_BYTES_MAX, "{} MiB", peak >> 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_takes_too_much_memory_is_refused_with_its_field() {
    let app = App::playing("api", &[]).await;
    app.leaves_work("no node delivers here");
    let client = app.client(1).await;
    client
        .register("4915112345678", "https://example.com/")
        .await;
    let deep = (0..65).fold(json!(0), |inner, _| json!([inner]));
    let refused = [
        (json!({"contacts": vec![0; 240_000]}), "values"),
        (json!({"raw": vec![json!({"": 0}); 20_000]}), "values"),
        (json!({"raw": deep}), "levels"),
    ];
    for (metadata, why) in refused {
        let body = message("4915112345678", "M1", "contact", metadata);
        let (status, answer) = client.call("POST", "/api/messages", Some(body)).await;
        assert_eq!(status, 400, "{answer}");
        assert_eq!(answer["errors"][0]["pointer"], "/metadata");
        let detail = answer["errors"][0]["detail"].as_str().expect("a text");
        assert!(detail.contains(why), "{detail}");
    }
    let deep = (0..64).fold(json!(0), |inner, _| json!([inner]));
    let body = message("4915112345678", "M2", "contact", json!({"raw": deep}));
    publish(&client, body).await;
    let peak = app.peak_rss_bytes();
    assert!(peak <= PEAK_RSS_BYTES_MAX, "{} MiB", peak >> 20);
}

fn write_config(path: &Path, max_payload: &str) {
    let limits = "jetstream { max_memory_store: 256MB, max_file_store: 20GB }";
    std::fs::write(path, format!("max_payload: {max_payload}\n{limits}\n")).expect("is written");
}

/// The server's `max_payload` was smaller after a restart: even a cut body does not fit.
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_that_the_server_takes_no_more_are_given_up_and_on_record() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = folder.path().join("nats.conf");
    write_config(&config, "2MB");
    let more = vec!["--config".to_owned(), config.display().to_string()];
    let nats = NatsServer::with(more).await;
    let mut app = App::playing_on(nats, "api,record", &[]).await;
    let client = app.client(1).await;
    let mut webhooks = Vec::new();
    for (index, answer) in ANSWERS.into_iter().enumerate() {
        let receiver = Receiver::answering(&[answer.max(200)]).await;
        let phone = format!("491511234567{index}");
        let body = json!({
            "phone_number": phone, "webhook_url": receiver.url("/"), "is_active": answer != 0,
            "retry_schedule": [1, 1, 1], "ordering": "chat",
        });
        let webhook = client.register_with(body).await;
        for id in ["M1", "M2", "M3"] {
            let mut body = message(&phone, id, "text", json!({"raw": vec!["x"; 10_000]}));
            body["content"] = "x".repeat(250_000).into();
            publish(&client, body).await;
        }
        webhooks.push((answer, webhook, receiver));
    }
    write_config(&config, "100KB");
    app.nats.kill_and_restart().await;
    let _deliver = app.second("deliver");
    for (answer, webhook, receiver) in &webhooks {
        let status = if *answer == 204 {
            "delivered"
        } else {
            "failed"
        };
        for id in ["M1", "M2", "M3"] {
            let event = client.event_when(webhook, id, status).await;
            assert_eq!(
                event["payload"],
                Value::Null,
                "the body does not fit: {event}"
            );
            let error = event["error"].as_str().unwrap_or_default();
            let is_told = error.contains("max_payload");
            assert_eq!(is_told, matches!(answer, 0 | 500), "{answer}: {error}");
            if status == "failed" {
                let id = event["id"].as_str().expect("an id");
                client.get(&format!("/api/dead-letters/{id}")).await;
                let path = format!("/api/webhooks/events/{id}/retry");
                let (status, _) = client.call("POST", &path, None).await;
                assert_eq!(status, if *answer == 0 { 409 } else { 413 }, "{answer}");
            }
        }
        let posts = if *answer == 0 { 0 } else { 3 };
        assert_eq!(receiver.received().len(), posts, "{answer}: no post twice");
    }
    for stream in ["WA_MSG", "WA_RETRY", "WA_CHAT", "WA_HOLD", "WA_ADV"] {
        eventually("the stream is empty", async || {
            (app.nats.messages(stream).await == 0).then_some(())
        })
        .await;
    }
    assert_eq!(app.nats.messages("WA_DLQ").await, 9);
}
