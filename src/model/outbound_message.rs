//! Messages that clients send through their WhatsApp sessions.

use serde::{Deserialize, Serialize};

use super::MessageId;

/// A text or file that a session sends.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundMessage {
    /// Its id at WhatsApp. The receiver sees a message once, even if it is sent twice with one id.
    pub message_id: MessageId,
    /// A phone number, a LID or a group's id: a [`WhatsAppId`](super::WhatsAppId).
    pub to: String,
    /// The text, or the caption of a file.
    pub text: String,
    /// The file to fetch and send.
    #[serde(default)]
    pub media: Option<OutboundMedia>,
    /// The message that it replies to.
    pub reply_to: Option<Quoted>,
}

/// A file to send.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundMedia {
    /// The URL to fetch it from.
    pub url: String,
    /// The file name of a document.
    pub file_name: Option<String>,
    /// Whether it is a voice note. `None`: if it is Opus in Ogg, as voice notes are.
    #[serde(default)]
    pub voice: Option<bool>,
}

/// A quoted message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quoted {
    /// Its id.
    pub message_id: String,
    /// Its sender, as a [`WhatsAppId`](super::WhatsAppId); `None` for the account itself.
    pub from: Option<String>,
    /// Its text, to be shown in the quotation.
    #[serde(default)]
    pub content: Option<String>,
    /// The chat in which it was written, if that is another one.
    #[serde(default)]
    pub chat: Option<String>,
}

/// The result of sending an [`OutboundMessage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendOutcome {
    /// WhatsApp accepted it.
    Sent,
    /// No node runs the session, or it is not connected.
    NotConnected,
    /// The session exceeded its rate; nothing was sent.
    TooFast {
        /// When the session may send again.
        retry_after_seconds: u64,
    },
    /// The file could not be fetched; nothing was sent.
    MediaFailed {
        /// Why; the client sees this text.
        reason: String,
    },
    /// A field does not fit the file; nothing was sent.
    InvalidField {
        /// A JSON pointer into the request.
        pointer: String,
        /// What would be right; the client sees this text.
        reason: String,
    },
    /// WhatsApp knows no account of this number; nothing was sent.
    NotOnWhatsApp,
    /// WhatsApp did not say whether the number has an account; nothing was sent.
    LookupFailed,
    /// WhatsApp or its client library refused it.
    Refused,
}
