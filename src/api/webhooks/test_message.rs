//! Sending a test message to a webhook.

use axum::{Json, extract::State, http::StatusCode};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    super::{AppState, extract::WebhookPath},
    Answer,
};
use crate::{
    model::{Delivery, EventId, Kind, Message, MessageId, Priority},
    wire::delivery_body,
};

/// `POST /api/webhooks/{webhook_id}/test`: a message of type `test` goes the whole way from the
/// retry stream on.
pub(in crate::api) async fn test(
    State(app): State<AppState>,
    WebhookPath(client, id): WebhookPath,
) -> Answer<Value> {
    let webhook = app.webhook(client, id).await?;
    app.admit(client, 0).await?;
    let at = app.bus.now();
    let message_id = format!("test-{}", Uuid::now_v7().simple());
    let message_id: MessageId = message_id.parse().expect("letters, digits and a dash");
    let number = webhook.phone.as_str();
    let message = Message {
        client_id: client,
        phone: webhook.phone.clone(),
        message_id,
        chat: number.to_owned(),
        from: number.to_owned(),
        to: number.to_owned(),
        timestamp: at,
        kind: Kind::Test,
        content: "This is a test from wahook.".to_owned(),
        metadata: Map::new(),
        metadata_json: None,
    };
    let event_id = EventId::derive(
        at,
        id,
        &message.chat,
        &message.from,
        &message.message_id,
        &message.kind,
    );
    let delivery = Delivery {
        event_id,
        webhook_id: id,
        client_id: client,
        phone: webhook.phone.clone(),
        message_id: message.message_id.clone(),
        kind: Kind::Test,
        created_at: at,
        body: delivery_body(&webhook, &message, event_id, at, app.bus.body_bytes_max()),
        attempt_count: 0,
        attempts_this_round: 0,
        priority: Priority::Normal,
        chat_key: None,
    };
    app.bus.publish_delivery(&delivery).await?;
    let answer = json!({
        "event_id": delivery.public_id().to_string(),
        "message_id": message.message_id.as_str(),
    });
    Ok((StatusCode::ACCEPTED, Json(answer)))
}
