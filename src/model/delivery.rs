//! A message on its way to one webhook.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{ClientId, EventId, Kind, MessageId, Phone, PublicEventId, Timestamp, WebhookId};

/// Who goes first where not all can.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// What happens now.
    #[default]
    Normal,
    /// What is sent again on a large scale: it takes what live traffic leaves.
    Low,
}

impl Priority {
    fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// One message for one webhook, with the exact body that every attempt sends.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Delivery {
    /// Same over all attempts and replays; the `webhook-id` header.
    pub event_id: EventId,
    /// Where it goes.
    pub webhook_id: WebhookId,
    /// Whose it is.
    pub client_id: ClientId,
    /// The number the webhook is registered for.
    pub phone: Phone,
    /// As WhatsApp gave it.
    pub message_id: MessageId,
    /// What kind of message.
    pub kind: Kind,
    /// When the message was first published.
    pub created_at: Timestamp,
    /// The JSON body, byte for byte; built once, before the first attempt.
    pub body: Bytes,
    /// Attempts made so far, over all rounds: the next one has this number plus one.
    #[serde(rename = "attempts")]
    pub attempt_count: u16,
    /// Attempts made in this round: a retry by hand starts a new round, with the whole retry
    /// schedule before it.
    #[serde(rename = "tries")]
    pub attempts_this_round: u16,
    /// Whether it gives way to others. Absent in what an older wahook wrote, and where it is
    /// normal.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// Stands for its chat where the order of a chat's messages matters; else empty, and absent.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub chat: String,
}

impl Delivery {
    /// The id the API shows.
    pub fn public_id(&self) -> PublicEventId {
        PublicEventId {
            webhook: self.webhook_id,
            event: self.event_id,
        }
    }

    /// The same for a new round: numbers go on after `attempt_count`, the retry schedule starts again.
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

/// Hides the body and the phone number.
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
