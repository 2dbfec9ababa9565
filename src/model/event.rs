//! What the audit tells: events, their status, and the state of a webhook.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Attempt, EventId, ParseError, Timestamp};

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventStatus {
    /// Waiting: for its next attempt, or because its webhook is paused.
    Pending,
    /// The request was fully written, but no answer came: unconfirmed, will be tried again.
    Sent,
    /// Answered with 2xx.
    Delivered,
    /// Given up: in the dead letters.
    Failed,
}

impl EventStatus {
    /// The text that the API and the store use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Sent => "sent",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

impl FromStr for EventStatus {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        [Self::Pending, Self::Sent, Self::Delivered, Self::Failed]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or(ParseError("a status is pending, sent, delivered or failed"))
    }
}

/// One event with its attempts, lowest number first. Never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// All attempts known; the last one tells where the event stands.
    pub attempts: Vec<Attempt>,
}

impl Event {
    /// The newest attempt.
    pub fn last(&self) -> &Attempt {
        self.attempts
            .last()
            .expect("an event has at least one attempt")
    }

    /// How many real attempts there were: number 0 is none.
    pub fn attempt_count(&self) -> usize {
        self.attempts
            .iter()
            .filter(|attempt| attempt.number > 0)
            .count()
    }

    /// When a 2xx came, if one did.
    pub fn delivered_at(&self) -> Option<Timestamp> {
        let delivered = self
            .attempts
            .iter()
            .rfind(|attempt| attempt.status == EventStatus::Delivered)?;
        Some(delivered.ended_at())
    }
}

/// Which events a listing wants. `since` is inclusive, `until` exclusive; both by the time of the
/// first publish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only events that stand so.
    pub status: Option<EventStatus>,
    /// Published at or after.
    pub since: Option<Timestamp>,
    /// Published before.
    pub until: Option<Timestamp>,
}

/// Where a listing goes on: after (older than) this event, newest first.
pub type Position = EventId;

/// How a webhook has fared, folded from its attempts; the newest attempt wins, whatever the order
/// of writing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookState {
    /// Attempts that failed since the last success.
    pub failure_count: u32,
    /// Whether the last final verdict was a failure.
    pub failed: bool,
    /// Why the newest failed attempt failed.
    pub last_error: Option<String>,
    /// End of the newest 2xx.
    pub last_success_at: Option<Timestamp>,
    /// End of the newest attempt.
    pub last_attempt_at: Option<Timestamp>,
}

/// How a webhook fared in one hour, by the ends of its attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourStats {
    /// When the hour began.
    pub hour: Timestamp,
    /// Requests made.
    pub attempts: u64,
    /// Those answered with 2xx.
    pub delivered: u64,
    /// Those after which the event was given up.
    pub failed: u64,
    /// How long they took, all together.
    pub latency_sum_ms: u64,
    /// How long the longest took.
    pub latency_max_ms: u64,
    /// Bytes of their bodies.
    pub body_bytes: u64,
}

impl HourStats {
    /// An hour without any.
    pub fn new(hour: Timestamp) -> Self {
        Self {
            hour,
            attempts: 0,
            delivered: 0,
            failed: 0,
            latency_sum_ms: 0,
            latency_max_ms: 0,
            body_bytes: 0,
        }
    }

    /// Both together; of the hour of `self`.
    #[must_use]
    pub fn with(&self, other: &Self) -> Self {
        Self {
            hour: self.hour,
            attempts: self.attempts + other.attempts,
            delivered: self.delivered + other.delivered,
            failed: self.failed + other.failed,
            latency_sum_ms: self.latency_sum_ms + other.latency_sum_ms,
            latency_max_ms: self.latency_max_ms.max(other.latency_max_ms),
            body_bytes: self.body_bytes + other.body_bytes,
        }
    }

    /// What came after `earlier`, which is a state of the same sums.
    #[must_use]
    pub fn without(&self, earlier: &Self) -> Self {
        Self {
            hour: self.hour,
            attempts: self.attempts - earlier.attempts,
            delivered: self.delivered - earlier.delivered,
            failed: self.failed - earlier.failed,
            latency_sum_ms: self.latency_sum_ms - earlier.latency_sum_ms,
            latency_max_ms: self.latency_max_ms,
            body_bytes: self.body_bytes - earlier.body_bytes,
        }
    }
}
