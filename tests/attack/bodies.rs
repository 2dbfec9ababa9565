//! Messages as large as the API takes them, in every format and kind, to every sort of endpoint.

use std::{io::Write as _, time::Duration};

use serde_json::{Value, json};

use crate::{
    endpoint::Endpoint,
    lab::ended,
    report::is_strict,
    support::app::{App, Client, eventually},
};

/// Near `api.body_bytes_max`.
const BODY_BYTES: usize = 500_000;
/// Resident memory of the process while one message after the other is delivered.
const RSS_BYTES_MAX: u64 = 400 << 20;
const FORMATS: [&str; 4] = ["native", "waha", "evolution", "cloud"];

/// What the endpoints answer, and how each delivery ends there.
const ANSWERS: [(&str, &str); 3] = [
    ("204 No Content", "delivered"),
    ("400 Bad Request", "failed"),
    ("500 Internal Server Error", "failed"),
];

/// Kinds, and the fields that some format makes larger.
fn messages() -> Vec<(&'static str, Value)> {
    let many = |text: &'static str| vec![text; BODY_BYTES / (text.len() + 3)];
    vec![
        ("text", json!({"mentions": many("1")})),
        (
            "text",
            json!({"quoted": {"text": "\u{1}".repeat(BODY_BYTES / 6)}}),
        ),
        ("contact", json!({"contacts": vec![0; BODY_BYTES / 2]})),
        (
            "contact",
            json!({"contacts": vec![json!({"name": "a", "vcard": "b"}); 15_000]}),
        ),
        (
            "location",
            json!({"location": {"name": "n".repeat(BODY_BYTES - 500)}}),
        ),
        (
            "image",
            json!({"media": {"caption": "\u{2}".repeat(BODY_BYTES / 6)}}),
        ),
        ("poll", json!({"poll": {"name": "p", "options": many("o")}})),
        (
            "list_reply",
            json!({"reply": {"id": "i".repeat(BODY_BYTES - 500)}}),
        ),
    ]
}

/// Publishes all kinds for one number; their ids. What is refused at the door names a field.
async fn publish(client: &Client, phone: &str) -> Vec<String> {
    let mut accepted = Vec::new();
    for (number, (kind, metadata)) in messages().into_iter().enumerate() {
        let id = format!("B{number}");
        let body = json!({
            "phone_number": phone, "message_id": id, "from": "4915100000009", "type": kind,
            "content": "c", "metadata": metadata,
        });
        let (status, answer) = client.call("POST", "/api/messages", Some(body)).await;
        match status {
            202 => accepted.push(id),
            400 | 413 | 422 => assert!(!answer["code"].is_null(), "a problem: {answer}"),
            other => panic!("{kind}: {other} {answer}"),
        }
    }
    assert!(accepted.len() >= 4, "most are taken");
    accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_end_delivered_dead_or_held_and_are_on_record() {
    let settings = [
        ("API__REGISTRATIONS_PER_MINUTE", "10000"),
        ("DELIVER__TIMEOUT", "10s"),
        ("BUS__ACK_WAIT", "30s"),
    ];
    let app = App::playing("api,deliver,record", &settings).await;
    let client = app.client(1).await;
    let mut number = 0;
    let mut ends = std::collections::BTreeMap::<String, usize>::new();
    for format in FORMATS {
        for (answer, expected) in ANSWERS {
            let endpoint = Endpoint::answering(Duration::ZERO, answer).await;
            number += 1;
            let phone = format!("4919{number:08}");
            let webhook = client
                .register_with(json!({
                    "phone_number": phone, "webhook_url": endpoint.url(), "format": format,
                    "max_retries": 1, "retry_schedule": [1],
                }))
                .await;
            for id in publish(&client, &phone).await {
                let status = ended(&client, &webhook, &id).await;
                assert_eq!(status, expected, "{format} {answer} {id}");
                *ends.entry(format!("{answer}: {status}")).or_default() += 1;
            }
        }
        number += 1;
        let phone = format!("4919{number:08}");
        let webhook = client
            .register_with(json!({
                "phone_number": phone, "webhook_url": "http://127.0.0.1:1/", "format": format,
                "is_active": false,
            }))
            .await;
        let accepted = publish(&client, &phone).await;
        let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
        eventually("all are held", async || {
            let held = client.get(&path).await["held_count"].as_u64()?;
            (held == accepted.len() as u64).then_some(())
        })
        .await;
        *ends.entry("paused held".to_owned()).or_default() += accepted.len();
    }
    let peak = app.peak_rss_bytes();
    let line = json!({"bodies": ends, "rss_peak_mib": peak >> 20});
    let _ = writeln!(std::io::stdout(), "{line}");
    let panics = app.log().matches("panicked at").count();
    assert_eq!(panics, 0, "no task panics");
    assert!(!is_strict() || peak <= RSS_BYTES_MAX, "{line}");
}
