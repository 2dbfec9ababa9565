//! Messages from another gateway.

use std::time::SystemTime;

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    AppState,
    auth::Caller,
    extract::Body,
    problem::{Code, FieldError, Problem},
};
use crate::model::{CONTENT_BYTES_MAX, ClientId, Kind, Message, MessageId, Phone, Timestamp};

/// Characters of a sender, receiver or chat.
const PARTY_CHARS_MAX: usize = 128;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Incoming {
    phone_number: String,
    message_id: String,
    from: String,
    to: Option<String>,
    chat: Option<String>,
    timestamp: Option<String>,
    r#type: Kind,
    #[serde(default)]
    content: String,
    #[serde(default)]
    metadata: Map<String, Value>,
}

/// `POST /api/messages`: answered once the stream has the message; then it will be delivered or
/// held, or be found among the dead letters.
pub(super) async fn publish(
    State(app): State<AppState>,
    Caller(client): Caller,
    Body(incoming): Body<Incoming>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let message = message(client, incoming, Timestamp::from_system(SystemTime::now()))?;
    if app
        .bus
        .webhooks()
        .by_phone(client, &message.phone)
        .await?
        .is_none()
    {
        return Err(Problem::new(
            Code::NoWebhook,
            "register one first: without it the message would be dropped",
        ));
    }
    let published = app.bus.publish_message(&message).await?;
    let status = if published.duplicate {
        "duplicate"
    } else {
        "accepted"
    };
    let answer = json!({
        "status": status,
        "message_id": message.message_id.as_str(),
        "sequence": published.sequence,
    });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

fn message(client_id: ClientId, incoming: Incoming, now: Timestamp) -> Result<Message, Problem> {
    let mut errors = Vec::new();
    let mut wrong = |pointer: &'static str, detail: String| {
        errors.push(FieldError {
            pointer: pointer.into(),
            detail,
        })
    };
    let phone: Result<Phone, _> = incoming.phone_number.parse();
    match &phone {
        Err(error) => wrong("/phone_number", error.to_string()),
        Ok(phone) if phone.is_operational() => wrong(
            "/phone_number",
            "is a number that nobody can have".to_owned(),
        ),
        Ok(_) => {}
    }
    let message_id: Result<MessageId, _> = incoming.message_id.parse();
    if let Err(error) = &message_id {
        wrong("/message_id", error.to_string());
    }
    let timestamp: Result<Timestamp, _> = incoming
        .timestamp
        .as_ref()
        .map_or(Ok(now), |text| text.parse());
    if let Err(error) = &timestamp {
        wrong("/timestamp", error.to_string());
    }
    let parties = [
        ("/from", Some(&incoming.from)),
        ("/to", incoming.to.as_ref()),
        ("/chat", incoming.chat.as_ref()),
    ];
    for (pointer, party) in parties {
        if party.is_some_and(|text| text.is_empty() || text.chars().count() > PARTY_CHARS_MAX) {
            wrong(pointer, format!("has 1 to {PARTY_CHARS_MAX} characters"));
        }
    }
    if incoming.content.len() > CONTENT_BYTES_MAX {
        wrong("/content", format!("has at most {CONTENT_BYTES_MAX} bytes"));
    }
    let (Ok(phone), Ok(message_id), Ok(timestamp), []) =
        (phone, message_id, timestamp, &errors[..])
    else {
        return Err(Problem::fields(errors));
    };
    Ok(Message {
        client_id,
        message_id,
        chat: incoming.chat.unwrap_or_else(|| incoming.from.clone()),
        to: incoming.to.unwrap_or_else(|| phone.as_str().to_owned()),
        from: incoming.from,
        phone,
        timestamp,
        // Only wahook itself tells these.
        kind: if incoming.r#type == Kind::Operational {
            Kind::Unknown
        } else {
            incoming.r#type
        },
        content: incoming.content,
        metadata: incoming.metadata,
    })
}
