//! Messages from another gateway.

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AppState,
    auth::Caller,
    body::JsonBytes,
    object_json::ObjectJson,
    problem::{Code, FieldErrors, Problem},
};
use crate::{
    bus::EncodedMessage,
    model::{
        CONTENT_BYTES_MAX, ClientId, Kind, Message, MessageId, PARTY_CHARS_MAX, Timestamp, Webhook,
        parse_metadata,
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Incoming {
    phone_number: String,
    message_id: String,
    from: String,
    to: Option<String>,
    chat: Option<String>,
    timestamp: Option<String>,
    r#type: String,
    #[serde(default)]
    content: String,
    metadata: Option<ObjectJson>,
}

impl Incoming {
    /// Of what may be long.
    fn bytes(&self) -> usize {
        let metadata = self.metadata.as_ref().map_or(0, |json| json.get().len());
        self.content.len() + metadata
    }
}

/// `POST /api/messages`: answered once the stream has the message. From then on it is delivered,
/// held, or becomes a dead letter. A message of a type that its webhook does not want is skipped.
pub(super) async fn publish(
    State(app): State<AppState>,
    Caller(client): Caller,
    body: JsonBytes,
) -> Result<(StatusCode, Json<Value>), Problem> {
    // Before it is parsed: that is most of what the API does for a large message.
    app.take_turn(client, body.len()).await?;
    let incoming: Incoming = body.parse(&app, Some(client)).await?;
    let webhook = match incoming.phone_number.parse() {
        Ok(phone) => app.bus.webhooks().by_account(client, &phone).await?,
        Err(_) => None,
    };
    let bytes = incoming.bytes();
    let encode = || encode(client, incoming, webhook.as_deref(), app.bus.now());
    let (message_id, encoded) = app.heavy.run(Some(client), bytes, encode).await?;
    let Some(encoded) = encoded else {
        let answer = json!({
            "status": "skipped",
            "message_id": message_id.as_str(),
            "sequence": null,
        });
        return Ok((StatusCode::ACCEPTED, Json(answer)));
    };
    app.admit(client, encoded.bytes()).await?;
    let published = app.bus.publish_encoded(encoded).await?;
    let status = if published.duplicate {
        "duplicate"
    } else {
        "accepted"
    };
    let answer = json!({
        "status": status,
        "message_id": message_id.as_str(),
        "sequence": published.sequence,
    });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

/// The id of a message, and what the stream gets of it, unless its webhook does not want its type.
/// The message itself does not outlive this: metadata may take
/// fifty times its JSON in memory.
fn encode(
    client: ClientId,
    incoming: Incoming,
    webhook: Option<&Webhook>,
    now: Timestamp,
) -> Result<(MessageId, Option<EncodedMessage>), Problem> {
    let mut message = message(client, incoming, now)?;
    let Some(webhook) = webhook else {
        return Err(Problem::new(
            Code::NoWebhook,
            "register one first: without it the message would be dropped",
        ));
    };
    message.phone = webhook.phone.clone();
    let is_wanted = webhook.wants(&message.kind);
    let encoded = is_wanted.then(|| EncodedMessage::new(&message));
    Ok((message.message_id, encoded))
}

fn message(client_id: ClientId, incoming: Incoming, now: Timestamp) -> Result<Message, Problem> {
    let mut errors = FieldErrors::default();
    let phone = errors.phone("/phone_number", Some(&incoming.phone_number));
    let message_id: Option<MessageId> = errors.take("/message_id", incoming.message_id.parse());
    let kind: Option<Kind> = errors.take("/type", incoming.r#type.parse());
    let timestamp = incoming.timestamp.as_ref().map(|text| text.parse());
    let timestamp = errors.take("/timestamp", timestamp.unwrap_or(Ok(now)));
    check_texts(&incoming, &mut errors);
    let metadata = incoming.metadata.as_ref();
    let metadata = metadata.map(|json| parse_metadata(json.get())).transpose();
    let metadata = errors
        .take("/metadata", metadata)
        .flatten()
        .unwrap_or_default();
    let (Some(phone), Some(message_id), Some(timestamp), Some(kind)) =
        (phone, message_id, timestamp, kind)
    else {
        return Err(errors.into_problem());
    };
    errors.unless_any(Message {
        client_id,
        message_id,
        chat: incoming.chat.unwrap_or_else(|| incoming.from.clone()),
        to: incoming.to.unwrap_or_else(|| phone.as_str().to_owned()),
        from: incoming.from,
        phone,
        timestamp,
        // Only wahook itself sends notices.
        kind: match kind {
            Kind::Operational => Kind::Unknown,
            kind => kind,
        },
        content: incoming.content,
        metadata: metadata.fields,
        metadata_json: metadata.json,
    })
}

fn check_texts(incoming: &Incoming, errors: &mut FieldErrors) {
    let parties = [
        ("/from", Some(&incoming.from)),
        ("/to", incoming.to.as_ref()),
        ("/chat", incoming.chat.as_ref()),
    ];
    for (pointer, party) in parties {
        let is_valid =
            party.is_none_or(|text| (1..=PARTY_CHARS_MAX).contains(&text.chars().count()));
        errors.check(is_valid, pointer, || {
            format!("has 1 to {PARTY_CHARS_MAX} characters")
        });
    }
    let is_short = incoming.content.len() <= CONTENT_BYTES_MAX;
    errors.check(is_short, "/content", || {
        format!("has at most {CONTENT_BYTES_MAX} bytes")
    });
}
