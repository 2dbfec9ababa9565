//! The body of a notice to a client about its own webhooks and sessions.

use serde::Serialize;
use serde_json::{Map, Value};

use super::bounded::{TooLong, json};
use crate::model::{ClientId, Message};

#[derive(Serialize)]
struct Body<'a> {
    r#type: &'a str,
    timestamp: String,
    client_id: ClientId,
    data: &'a Map<String, Value>,
}

pub(super) fn body(message: &Message, bytes_max: usize) -> Result<Vec<u8>, TooLong> {
    let body = Body {
        r#type: &message.content,
        timestamp: message.timestamp.to_string(),
        client_id: message.client_id,
        data: &message.metadata,
    };
    json(&body, bytes_max)
}
