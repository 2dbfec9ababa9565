//! Messages that clients send through their WhatsApp sessions.

use serde::{Deserialize, Serialize};

use super::MessageId;

/// A text or file that a session sends.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundMessage {
    /// Its id at WhatsApp. The receiver sees a message once, even if it is sent twice with one id.
    pub message_id: MessageId,
    /// A phone number, or a group's id.
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
}

/// A quoted message.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quoted {
    /// Its id.
    pub message_id: String,
    /// The number of its sender.
    pub from: String,
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
    /// WhatsApp or its client library refused it.
    Refused,
}
