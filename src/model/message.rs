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
    /// [`Metadata::json`](super::Metadata::json) of the same metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_json: Option<String>,
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
