//! A WhatsApp message, from a session of wahook or from another gateway.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ClientId, MessageId, Phone, Timestamp};

/// The kind of a message: the `type` of the webhook body.
///
/// # Examples
///
/// ```
/// use wahook::model::Kind;
///
/// assert_eq!(Kind::ButtonReply.as_str(), "button_reply");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Kind {
    Text,
    Image,
    Video,
    Audio,
    Document,
    Sticker,
    Location,
    Contact,
    Reaction,
    Poll,
    Edit,
    Revoke,
    ButtonReply,
    ListReply,
    /// The status of a message that the account sent; only for webhooks that ask for receipts.
    Receipt,
    /// Sent by `POST /api/webhooks/{id}/test`.
    Test,
    /// A notice about the client's webhooks and sessions; only for its operational webhook.
    Operational,
    /// Any kind that this version does not know.
    #[serde(other)]
    Unknown,
}

impl Kind {
    /// The text that webhooks and the API use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Image => "image",
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Document => "document",
            Self::Sticker => "sticker",
            Self::Location => "location",
            Self::Contact => "contact",
            Self::Reaction => "reaction",
            Self::Poll => "poll",
            Self::Edit => "edit",
            Self::Revoke => "revoke",
            Self::ButtonReply => "button_reply",
            Self::ListReply => "list_reply",
            Self::Receipt => "receipt",
            Self::Test => "test",
            Self::Operational => "operational",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The most bytes of text in one message. WhatsApp's own limit is 65 536 characters.
pub const CONTENT_BYTES_MAX: usize = 256 * 1024;

/// Characters of a sender, a receiver or a chat.
pub const PARTY_CHARS_MAX: usize = 128;
/// Levels of lists and objects in metadata. JSON readers of receivers stop at about 100.
pub const METADATA_DEPTH_MAX: usize = 64;
/// Values in metadata: objects, lists, texts, numbers, booleans and nulls. Each takes up to some
/// 650 bytes of memory, whatever its JSON takes.
pub const METADATA_VALUES_MAX: usize = 20_000;

/// Why metadata is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// More levels than [`METADATA_DEPTH_MAX`].
    #[error("lists and objects are nested at most {METADATA_DEPTH_MAX} levels deep")]
    TooDeep,
    /// More values than [`METADATA_VALUES_MAX`].
    #[error("has at most {METADATA_VALUES_MAX} values, counting those in lists and objects")]
    TooManyValues,
}

/// Whether metadata keeps its limits.
///
/// # Errors
/// When it does not.
///
/// # Examples
///
/// ```
/// use serde_json::{Map, json};
/// use wahook::model::{MetadataError, check_metadata};
///
/// assert_eq!(check_metadata(&Map::new()), Ok(()));
/// let long = [("all".to_owned(), json!(vec![0; 20_000]))].into_iter().collect();
/// assert_eq!(check_metadata(&long), Err(MetadataError::TooManyValues));
/// ```
pub fn check_metadata(metadata: &Map<String, Value>) -> Result<(), MetadataError> {
    let mut left = METADATA_VALUES_MAX;
    metadata
        .values()
        .try_for_each(|value| check_value(value, METADATA_DEPTH_MAX, &mut left))
}

fn check_value(value: &Value, depth: usize, left: &mut usize) -> Result<(), MetadataError> {
    *left = left.checked_sub(1).ok_or(MetadataError::TooManyValues)?;
    let inner = || depth.checked_sub(1).ok_or(MetadataError::TooDeep);
    match value {
        Value::Array(entries) => {
            let depth = inner()?;
            entries
                .iter()
                .try_for_each(|entry| check_value(entry, depth, left))
        }
        Value::Object(fields) => {
            let depth = inner()?;
            fields
                .values()
                .try_for_each(|field| check_value(field, depth, left))
        }
        _ => Ok(()),
    }
}

/// One message that `phone`, a number of `client_id`, received. Its `Debug` hides what people wrote
/// and who they are.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// The client that owns the number.
    pub client_id: ClientId,
    /// The number that received it. Client and number lead to the webhook.
    pub phone: Phone,
    /// The id that WhatsApp gave it.
    pub message_id: MessageId,
    /// The conversation: the sender's number, or the group's id.
    pub chat: String,
    /// The sender: a phone number, or a pseudonym when WhatsApp hides the number.
    pub from: String,
    /// The receiver: usually `phone`.
    pub to: String,
    /// When it was sent, by WhatsApp's clock.
    pub timestamp: Timestamp,
    /// The kind of message.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Text or caption; empty when there is none.
    pub content: String,
    /// Further fields: push name, group, media reference, quoted message.
    pub metadata: Map<String, Value>,
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("client_id", &self.client_id)
            .field("message_id", &self.message_id)
            .field("type", &self.kind)
            .field("content_bytes", &self.content.len())
            .finish_non_exhaustive()
    }
}
