//! A WhatsApp message, from a session of wahook or from another gateway.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{ClientId, MessageId, ParseError, Phone, Timestamp};

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident $text:literal,)*) => {
        #[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[expect(missing_docs, reason = "the names are the documentation")]
        /// The kind of a message: the `type` of the webhook body.
        ///
        /// # Examples
        ///
        /// ```
        /// use wahook::model::Kind;
        ///
        /// assert_eq!(Kind::ButtonReply.as_str(), "button_reply");
        /// assert_eq!("poll_vote".parse(), Ok(Kind::PollVote));
        /// ```
        pub enum Kind {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)*
            /// Any kind that this version does not know.
            #[serde(other, rename = "unknown")]
            Unknown,
        }

        impl Kind {
            /// All kinds.
            pub const ALL: &[Self] = &[$(Self::$variant,)* Self::Unknown];

            const ONE_OF: &str = concat!("is one of ", $($text, ", ",)* "unknown");

            /// The text that webhooks and the API use.
            pub fn as_str(&self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Unknown => "unknown",
                }
            }
        }
    };
}

kinds! {
    Text "text",
    Image "image",
    Video "video",
    Audio "audio",
    Document "document",
    Sticker "sticker",
    StickerPack "sticker_pack",
    /// Announces images and videos that follow, each with `album` in its metadata.
    Album "album",
    Location "location",
    Contact "contact",
    Reaction "reaction",
    Poll "poll",
    PollVote "poll_vote",
    PollResult "poll_result",
    Event "event",
    EventReply "event_reply",
    Edit "edit",
    Revoke "revoke",
    /// A business's text from a template.
    Template "template",
    /// A business's text with buttons of flows, cards, or a shop.
    Interactive "interactive",
    /// A text with buttons to choose from.
    Buttons "buttons",
    /// A text with a list to choose from.
    List "list",
    ButtonReply "button_reply",
    ListReply "list_reply",
    /// What somebody filled into a form.
    FlowReply "flow_reply",
    Order "order",
    Product "product",
    Payment "payment",
    GroupInvite "group_invite",
    ChannelInvite "channel_invite",
    /// A message was pinned, or no longer is.
    Pin "pin",
    /// A disappearing message was kept, or no longer is.
    Keep "keep",
    Comment "comment",
    /// The answer to a question of a channel or a status.
    Answer "answer",
    /// An entry of the call log.
    Call "call",
    /// Somebody asks for the account's phone number.
    NumberRequest "number_request",
    /// A message that linked devices cannot read; `reason` in its metadata says why.
    Unavailable "unavailable",
    /// The status of a message that the account sent; only for webhooks that ask for receipts.
    Receipt "receipt",
    /// Sent by `POST /api/webhooks/{id}/test`.
    Test "test",
    /// A notice about the client's webhooks and sessions; only for its operational webhook.
    Operational "operational",
}

impl FromStr for Kind {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.iter().find(|kind| kind.as_str() == text);
        found.cloned().ok_or(ParseError(Self::ONE_OF))
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
