//! Messages on their way out to WhatsApp.

use serde::{Deserialize, Serialize};

use super::MessageId;

/// A text or file that a session is to send.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundMessage {
    /// Its id at WhatsApp. Sent twice under the same id, its receiver sees it once.
    pub message_id: MessageId,
    /// A phone number, or a group's id.
    pub to: String,
    /// What it says; the caption of a file.
    pub text: String,
    /// A file to fetch and to send.
    #[serde(default)]
    pub media: Option<OutboundMedia>,
    /// The message that it answers.
    pub reply_to: Option<Quoted>,
}

/// A file that is sent.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundMedia {
    /// Where it can be fetched from.
    pub url: String,
    /// How a document is called.
    pub file_name: Option<String>,
}

/// A message that is quoted.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quoted {
    /// Its id.
    pub message_id: String,
    /// The number of whoever wrote it.
    pub from: String,
}

/// What became of an [`OutboundMessage`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendOutcome {
    /// Handed to WhatsApp.
    Sent,
    /// No node runs the session, or it is not connected.
    NotConnected,
    /// Faster than the session may send; nothing was sent.
    TooFast {
        /// When there is room again.
        retry_after_seconds: u64,
    },
    /// The file could not be had; nothing was sent.
    MediaFailed {
        /// Why, in words for whoever gave its URL.
        reason: String,
    },
    /// WhatsApp or its client refused it.
    Refused,
}
