//! The JSON that customers receive.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::model::{ClientId, Kind, Message, MessageId};

/// The body's fields, in their order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "docs/receiving-webhooks.md documents each field")]
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

/// The body of every attempt to deliver this message. Built once, then carried along.
pub fn webhook_body(message: &Message) -> Bytes {
    let payload = Payload {
        client_id: message.client_id,
        message_id: message.message_id.clone(),
        from: message.from.clone(),
        to: message.to.clone(),
        timestamp: message.timestamp.rfc3339_seconds(),
        kind: message.kind.clone(),
        content: message.content.clone(),
        metadata: message.metadata.clone(),
    };
    serde_json::to_vec(&payload).expect("strings, numbers and maps with text keys have a JSON form").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn has_exactly_the_promised_fields_in_order() {
        let message = Message {
            client_id: ClientId::try_from(7).expect("in range"),
            phone: "4915112345678".parse().expect("valid"),
            message_id: "3EB0C767D71D".parse().expect("valid"),
            chat: "4915100000001".to_owned(),
            from: "4915100000001".to_owned(),
            to: "4915112345678".to_owned(),
            timestamp: Timestamp::from_millis(1_764_000_000_999),
            kind: Kind::Text,
            content: "hi\n👋".to_owned(),
            metadata: Map::new(),
        };
        assert_eq!(
            String::from_utf8_lossy(&webhook_body(&message)),
            r#"{"client_id":7,"message_id":"3EB0C767D71D","from":"4915100000001","to":"4915112345678","timestamp":"2025-11-24T16:00:00Z","type":"text","content":"hi\n👋","metadata":{}}"#
        );
    }
}
