//! wahook's own format.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::BodySummary;
use crate::model::{ClientId, Kind, Message, MessageId};

/// The body's fields, in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "docs/receiving-webhooks.md documents each field"
)]
pub struct Payload {
    pub client_id: ClientId,
    pub message_id: MessageId,
    pub from: String,
    pub to: String,
    /// RFC 3339, UTC, whole seconds.
    pub timestamp: String,
    #[serde(rename = "type")]
    pub kind: Kind,
    pub content: String,
    pub metadata: Map<String, Value>,
}

impl From<&Message> for Payload {
    fn from(message: &Message) -> Self {
        Self {
            client_id: message.client_id,
            message_id: message.message_id.clone(),
            from: message.from.clone(),
            to: message.to.clone(),
            timestamp: message.timestamp.rfc3339_seconds(),
            kind: message.kind.clone(),
            content: message.content.clone(),
            metadata: message.metadata.clone(),
        }
    }
}

impl From<Payload> for BodySummary {
    fn from(payload: Payload) -> Self {
        Self {
            from: payload.from,
            to: payload.to,
            content: payload.content,
        }
    }
}
