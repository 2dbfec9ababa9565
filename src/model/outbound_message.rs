//! Messages that clients send through their WhatsApp sessions.

use serde::{Deserialize, Serialize};

use super::{FoundContact, MessageId, Timestamp};

/// A message that a session sends: a text, a file, or what [`OutboundKind`] has.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboundMessage {
    /// Its id at WhatsApp. The receiver sees a message once, even if it is sent twice with one id.
    pub message_id: MessageId,
    /// A phone number, a LID or a group's id: a [`WhatsAppId`](super::WhatsAppId).
    pub to: String,
    /// The text, or the caption of a file. `None` where there is a kind: an older node, which knows
    /// none, then does not read it and sends nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The file to fetch and send.
    #[serde(default)]
    pub media: Option<OutboundMedia>,
    /// What is neither text nor file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<OutboundKind>,
    /// The message that it replies to.
    pub reply_to: Option<Quoted>,
}

/// What a message is that is neither text nor file.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboundKind {
    /// A place.
    Location(OutboundLocation),
    /// Contact cards.
    Contacts(Vec<OutboundContact>),
    /// A poll.
    Poll(OutboundPoll),
    /// A reaction to a message; empty takes it back.
    Reaction {
        /// The message.
        target: Quoted,
        /// One emoji.
        emoji: String,
    },
    /// The new text of a message of the account's own.
    Edit {
        /// The id of the message.
        message_id: String,
        /// The new text.
        text: String,
    },
    /// Deletes a message for everyone: the account's own, or another's in a group that it
    /// administers.
    Delete {
        /// The message.
        target: Quoted,
    },
}

/// A place.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboundLocation {
    /// Degrees, -90 to 90.
    pub latitude: f64,
    /// Degrees, -180 to 180.
    pub longitude: f64,
    /// What it is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it is, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

/// A contact card.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundContact {
    /// The name that is shown.
    pub name: String,
    /// The card.
    pub vcard: String,
}

/// A poll.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutboundPoll {
    /// What is asked.
    pub question: String,
    /// What may be chosen: 2 to 12, no two alike.
    pub options: Vec<String>,
    /// How many of them one person may choose.
    pub selectable: u32,
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
    /// How it is shown. `None`: as its type says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shown_as: Option<ShownAs>,
}

/// How a file is shown, whatever its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ShownAs {
    /// As a file with its name.
    Document,
    /// A sticker, which is a WebP picture.
    Sticker,
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

/// The result of a [`SessionRequest`](super::SessionRequest).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendOutcome {
    /// WhatsApp accepted it.
    Sent,
    /// What a look-up found.
    Found(FoundContact),
    /// The file is at WhatsApp again.
    MediaRenewed {
        /// Where.
        media_id: String,
    },
    /// The phone does not have the file, or did not answer.
    MediaGone,
    /// The phone is being asked for messages of the past.
    BackfillStarted {
        /// From then on.
        since: Timestamp,
        /// Of these chats.
        chats: Vec<String>,
        /// No message of these is known, before which others could be asked for.
        unknown: Vec<String>,
    },
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
