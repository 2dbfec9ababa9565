//! A message that is to be sent to one webhook.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use super::{
    ChatKey, ClientId, EventId, Kind, MessageId, Phone, PublicEventId, Timestamp, WebhookId,
};

/// Which deliveries go first when an endpoint cannot take all of them.
///
/// # Examples
///
/// ```
/// use wahook::model::Priority;
///
/// assert_eq!(Priority::default(), Priority::Normal);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Live traffic.
    #[default]
    Normal,
    /// Deliveries of a replay: they use only the capacity that live traffic leaves.
    Low,
}

impl Priority {
    fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// One message for one webhook, with the exact body that every attempt sends. Its `Debug` hides the
/// body and the phone number.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// The same for all attempts and replays; sent as the `webhook-id` header.
    pub event_id: EventId,
    /// The webhook that gets it.
    pub webhook_id: WebhookId,
    /// The client that owns the webhook.
    pub client_id: ClientId,
    /// The phone number that the webhook is registered for.
    pub phone: Phone,
    /// The id that WhatsApp gave the message.
    pub message_id: MessageId,
    /// The kind of message.
    pub kind: Kind,
    /// When the message was first published.
    pub created_at: Timestamp,
    /// The JSON body. It is built once, before the first attempt.
    pub body: Bytes,
    /// Attempts so far in all rounds; the next attempt has this number plus one.
    #[serde(rename = "attempts")]
    pub attempt_count: u16,
    /// Attempts so far in this round. A retry by hand or a replay starts a new round, with the
    /// whole retry schedule.
    #[serde(rename = "tries")]
    pub attempts_this_round: u16,
    /// Whether live traffic goes first. Not written when it is normal, so older versions can read
    /// it.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// Its chat, where the webhook asks for the order of chats. Not written when there is none.
    #[serde(
        default,
        rename = "chat",
        skip_serializing_if = "Option::is_none",
        deserialize_with = "chat_key"
    )]
    pub chat_key: Option<ChatKey>,
}

impl Delivery {
    /// The id the API shows.
    pub fn public_id(&self) -> PublicEventId {
        PublicEventId {
            webhook: self.webhook_id,
            event: self.event_id,
        }
    }

    /// Whether the body was left out, because nats-server did not take it. Such a delivery cannot
    /// be sent.
    pub fn is_cut(&self) -> bool {
        self.body.is_empty()
    }

    /// The same delivery after one more attempt.
    #[must_use]
    pub fn after_attempt(&self) -> Self {
        Self {
            attempt_count: self.attempt_count.saturating_add(1),
            attempts_this_round: self.attempts_this_round.saturating_add(1),
            ..self.clone()
        }
    }

    /// The same delivery for a new round: attempts are numbered from `attempt_count` on, and the
    /// retry schedule starts again.
    #[must_use]
    pub fn for_new_round(&self, attempt_count: u16, priority: Priority) -> Self {
        Self {
            attempt_count,
            attempts_this_round: 0,
            priority,
            ..self.clone()
        }
    }
}

#[cfg(test)]
impl Delivery {
    /// One that tests change where it matters to them.
    pub(crate) fn example() -> Self {
        Self {
            event_id: EventId(uuid::Uuid::from_u128(1)),
            webhook_id: WebhookId(uuid::Uuid::from_u128(2)),
            client_id: 3.try_into().expect("in range"),
            phone: "4915112345678".parse().expect("valid"),
            message_id: "M1".parse().expect("valid"),
            kind: Kind::Text,
            created_at: Timestamp::EPOCH,
            body: Bytes::from_static(b"{}"),
            attempt_count: 0,
            attempts_this_round: 0,
            priority: Priority::Normal,
            chat_key: None,
        }
    }
}

/// An empty text stands for no chat, too.
fn chat_key<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ChatKey>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.filter(|text| !text.is_empty())
        .map(ChatKey::try_from)
        .transpose()
        .map_err(D::Error::custom)
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("event_id", &self.event_id)
            .field("webhook_id", &self.webhook_id)
            .field("client_id", &self.client_id)
            .field("attempt_count", &self.attempt_count)
            .field("attempts_this_round", &self.attempts_this_round)
            .field("body_bytes", &self.body.len())
            .finish_non_exhaustive()
    }
}
