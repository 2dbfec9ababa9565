//! What a client asks of the node that runs its session.

use serde::{Deserialize, Serialize};

use super::{OutboundMessage, Phone, Timestamp};

/// A request to a session.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SessionRequest {
    /// Anything but a message. A node that does not know it answers nothing.
    Act {
        /// What.
        act: SessionAct,
    },
    /// A message to send.
    Send(Box<OutboundMessage>),
}

/// What a session does beside sending messages.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionAct {
    /// Tells the author that messages were read.
    MarkRead(ReadMark),
    /// Shows that somebody writes.
    ShowTyping {
        /// The chat: a [`WhatsAppId`](super::WhatsAppId).
        to: String,
        /// What is shown.
        state: TypingState,
    },
    /// Looks up whether a number has an account.
    FindNumber(Phone),
    /// Looks up the number behind a LID, which is `…@lid`.
    FindLid(String),
    /// Asks the account's phone to upload a file again that WhatsApp has no more.
    RenewMedia {
        /// As webhooks show it.
        media_id: String,
    },
    /// Asks the account's phone for messages of the past.
    Backfill(Backfill),
}

/// Messages of the past that may have been missed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// From then on.
    pub since: Timestamp,
    /// Until then.
    pub until: Timestamp,
    /// The chats, as webhooks show them; those with the newest messages when there are none.
    pub chats: Vec<String>,
}

/// Messages that were read.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadMark {
    /// The chat: a [`WhatsAppId`](super::WhatsAppId).
    pub chat: String,
    /// Their author, which is needed in a group.
    pub from: Option<String>,
    /// Their ids.
    pub message_ids: Vec<String>,
}

/// What a chat shows of somebody who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TypingState {
    /// "typing…"
    Composing,
    /// "recording audio…"
    Recording,
    /// Nothing any more.
    Paused,
}

/// Somebody whom WhatsApp knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundContact {
    /// The number of the account, in WhatsApp's own form; `None` when WhatsApp hides it.
    pub phone_number: Option<String>,
    /// The LID, which is `…@lid`; `None` when it is not known.
    pub lid: Option<String>,
}
