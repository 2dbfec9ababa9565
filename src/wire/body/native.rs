//! wahook's own format.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, value::RawValue};

use super::BodySummary;
use crate::model::{ClientId, Kind, Message};

/// The body's fields, in their order. docs/receiving-webhooks.md has what each means.
#[derive(Serialize)]
pub(super) struct Body<'a> {
    client_id: ClientId,
    message_id: &'a str,
    from: &'a str,
    to: &'a str,
    /// RFC 3339, UTC, whole seconds.
    timestamp: String,
    #[serde(rename = "type")]
    kind: &'a Kind,
    content: &'a str,
    metadata: Metadata<'a>,
}

/// Metadata, as it was written if that is known.
#[derive(Serialize)]
#[serde(untagged)]
enum Metadata<'a> {
    Written(&'a RawValue),
    Fields(&'a Map<String, Value>),
}

impl<'a> From<&'a Message> for Metadata<'a> {
    fn from(message: &'a Message) -> Self {
        let written = message.metadata_json.as_deref();
        // From the stream, so it is checked again.
        let written = written.and_then(|json| serde_json::from_str(json).ok());
        written.map_or(Self::Fields(&message.metadata), Self::Written)
    }
}

impl<'a> From<&'a Message> for Body<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            client_id: message.client_id,
            message_id: message.message_id.as_str(),
            from: &message.from,
            to: &message.to,
            timestamp: message.timestamp.rfc3339_seconds(),
            kind: &message.kind,
            content: &message.content,
            metadata: message.into(),
        }
    }
}

/// What the audit shows of it. The metadata is passed over, however deep it is nested.
#[derive(Deserialize)]
pub(super) struct Summary {
    from: String,
    to: String,
    content: String,
}

impl From<Summary> for BodySummary {
    fn from(summary: Summary) -> Self {
        Self {
            from: summary.from,
            to: summary.to,
            content: summary.content,
        }
    }
}
