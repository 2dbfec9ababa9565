//! What the audit shows: events, their status, and the state of a webhook.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{Attempt, EventId, ParseError, Timestamp};

/// The status of an event.
///
/// # Examples
///
/// ```
/// use wahook::model::EventStatus;
///
/// assert_eq!("delivered".parse(), Ok(EventStatus::Delivered));
/// assert!("done".parse::<EventStatus>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventStatus {
    /// It waits for its next attempt, or until its webhook is no longer paused.
    Pending,
    /// The request was written completely, but no response came. It will be retried.
    Sent,
    /// The endpoint answered 2xx.
    Delivered,
    /// It is a dead letter.
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
    /// The newest attempts that are known, all with the same body; the last one has the current
    /// status.
    pub attempts: Vec<Attempt>,
}

impl Event {
    /// The newest attempt.
    pub fn last(&self) -> &Attempt {
        self.attempts
            .last()
            .expect("an event has at least one attempt")
    }

    /// When the endpoint answered 2xx, if it did.
    pub fn delivered_at(&self) -> Option<Timestamp> {
        let delivered = self
            .attempts
            .iter()
            .rfind(|attempt| attempt.status == EventStatus::Delivered)?;
        Some(delivered.ended_at())
    }
}

/// Which events a listing includes. `since` is inclusive, `until` exclusive; both compare the time
/// of the first publish.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only events with this status.
    pub status: Option<EventStatus>,
    /// Only events published at this time or later.
    pub since: Option<Timestamp>,
    /// Only events published before this time.
    pub until: Option<Timestamp>,
}

/// Where a listing continues: with the first event older than this one.
pub type Position = EventId;

/// The health of a webhook, derived from its attempts. The newest attempt counts, in whatever order
/// they are written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookState {
    /// Attempts that failed since the last success.
    pub failure_count: u32,
    /// Whether the newest finished event was a failure.
    pub failed: bool,
    /// Why the newest failed attempt failed.
    pub last_error: Option<String>,
    /// End of the newest 2xx.
    pub last_success_at: Option<Timestamp>,
    /// End of the newest attempt.
    pub last_attempt_at: Option<Timestamp>,
}

/// What a webhook's attempts that ended in one hour add up to.
///
/// # Examples
///
/// ```
/// use wahook::model::{HourStats, Timestamp};
///
/// let mut first = HourStats::new(Timestamp::EPOCH);
/// first.attempts = 2;
/// let both = first.with(&first);
/// assert_eq!(both.attempts, 4);
/// assert_eq!(both.without(&first), first);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HourStats {
    /// When the hour starts.
    pub hour: Timestamp,
    /// Requests made.
    pub attempts: u64,
    /// Requests answered with 2xx.
    pub delivered: u64,
    /// Requests after which the event became a dead letter.
    pub failed: u64,
    /// The sum of their durations.
    pub latency_sum_ms: u64,
    /// The longest duration.
    pub latency_max_ms: u64,
    /// Bytes of the request bodies.
    pub body_bytes: u64,
}

impl HourStats {
    /// An hour without attempts.
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

    /// The sum of both, for the hour of `self`.
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

    /// What was added since `earlier`, an older state of the same sums.
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
