//! A WhatsApp message, whatever brought it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ClientId, MessageId, Phone, Timestamp};

/// What kind of message it is; its text is the `type` of the webhook body.
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
    /// What became of a message that the account sent; only for webhooks that ask for it.
    Receipt,
    /// Sent by `POST /api/webhooks/{id}/test`.
    Test,
    /// What happened to the client's webhooks and sessions; only for its operational webhook.
    Operational,
    /// Anything that has no name here yet.
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

/// Most bytes of text that one message may hold: WhatsApp's own limit is 65 536 characters.
pub const CONTENT_BYTES_MAX: usize = 256 * 1024;

/// One message that came in on `phone`, a number of `client_id`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Whose number it came in on.
    pub client_id: ClientId,
    /// The number it came in on; a webhook is found by client and this number.
    pub phone: Phone,
    /// As WhatsApp gave it.
    pub message_id: MessageId,
    /// The conversation: the sender's number, or the group's id.
    pub chat: String,
    /// Sender: a phone number, or what stands for one when WhatsApp hides it.
    pub from: String,
    /// Receiver: usually `phone`.
    pub to: String,
    /// When it was sent, by WhatsApp's clock.
    pub timestamp: Timestamp,
    /// What kind of message.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Text or caption; empty when there is none.
    pub content: String,
    /// Whatever else applies: push name, group, media reference, quoted id.
    pub metadata: Map<String, Value>,
}

/// Hides what people wrote and who they are.
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
