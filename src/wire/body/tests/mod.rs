//! Each format against bodies as their makers send them. The fixtures are written after their
//! documents and code, with values of our own; what cannot be the same is listed here, and in
//! docs/receiving-webhooks.md.

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(
            "../../../../tests/fixtures/formats/",
            $name,
            ".json"
        ))
    };
}

mod any_message;
mod cloud;
mod limits;
mod other_formats;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;
use crate::model::{ClientId, DeliveryOptions, Kind, SigningSecret, WebhookId};

const EVENT: EventId = EventId(Uuid::from_u128(9));
fn at() -> Timestamp {
    Timestamp::from_millis(1_750_000_000_123)
}

fn webhook(format: Format) -> Webhook {
    let id = WebhookId(Uuid::from_u128(2));
    let client = ClientId::try_from(7).expect("in range");
    let phone = "4911100000".parse().expect("valid");
    let url = "https://example.com/hook?key=secret".to_owned();
    Webhook {
        secrets: vec![SigningSecret::from_key(&[1; 32])],
        metadata_json: None,
        metadata: [("mine".to_owned(), json!("private"))]
            .into_iter()
            .collect(),
        sending: DeliveryOptions {
            format,
            ..DeliveryOptions::default()
        },
        ..Webhook::new(id, client, phone, url, Timestamp::EPOCH)
    }
}

fn message(kind: Kind, content: &str, metadata: Value) -> Message {
    let mut all = Map::new();
    all.insert("push_name".to_owned(), "Ann".into());
    all.extend(metadata.as_object().cloned().expect("an object"));
    Message {
        client_id: ClientId::try_from(7).expect("in range"),
        phone: "4911100000".parse().expect("valid"),
        message_id: "3EB0AA".parse().expect("valid"),
        chat: "4922200000".to_owned(),
        from: "4922200000".to_owned(),
        to: "4911100000".to_owned(),
        timestamp: Timestamp::from_millis(1_750_000_000_000),
        kind,
        content: content.to_owned(),
        metadata: all,
        metadata_json: None,
    }
}

fn render(format: Format, message: &Message) -> (Bytes, Value) {
    let body = delivery_body(&webhook(format), message, EVENT, at(), BODY_BYTES_MAX);
    let value = serde_json::from_slice(&body).expect("JSON");
    (body, value)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether each field of the fixture is there, of the same type, and with the same value unless it
/// is listed.
fn differences(
    at: &str,
    theirs: &Value,
    ours: Option<&Value>,
    listed: &[&str],
    found: &mut Vec<String>,
) {
    let Some(ours) = ours else {
        return found.push(format!("{at} is missing"));
    };
    let is_listed = listed.contains(&at);
    match (theirs, ours) {
        (Value::Object(fields), Value::Object(_)) => {
            for (name, theirs) in fields {
                differences(
                    &format!("{at}/{name}"),
                    theirs,
                    ours.get(name),
                    listed,
                    found,
                );
            }
        }
        (Value::Array(items), Value::Array(own)) => {
            if items.len() != own.len() {
                found.push(format!("{at} has {} items", own.len()));
            }
            for (index, theirs) in items.iter().enumerate() {
                differences(
                    &format!("{at}/{index}"),
                    theirs,
                    own.get(index),
                    listed,
                    found,
                );
            }
        }
        _ if kind_of(theirs) != kind_of(ours) && !is_listed => {
            found.push(format!("{at} is a {}", kind_of(ours)))
        }
        _ if theirs != ours && !is_listed => found.push(format!("{at} is {ours}, not {theirs}")),
        _ => {}
    }
}

#[track_caller]
fn meets(format: Format, fixture: &str, message: &Message, listed: &[&str]) {
    let theirs: Value = serde_json::from_str(fixture).expect("JSON");
    let (body, ours) = render(format, message);
    let mut found = Vec::new();
    differences("", &theirs, Some(&ours), listed, &mut found);
    assert!(found.is_empty(), "{found:#?}\n{ours:#}");
    assert_eq!(format_of(&body), format, "the first bytes tell the format");
    assert!(
        !ours.to_string().contains("private") && !ours.to_string().contains("key=secret"),
        "{ours}"
    );
}

fn receipt(status: &str) -> Message {
    let mut message = message(Kind::Receipt, status, json!({"chat": "4922200000"}));
    message.chat = format!("4922200000#{status}");
    message
}

fn image() -> Message {
    let media = json!({
        "id": "sealed-id",
        "mime_type": "image/jpeg",
        "sha256": "01".repeat(32),
        "size": 9,
        "width": 4,
    });
    message(Kind::Image, "look", json!({"media": media}))
}
