//! One HTTP request for a delivery, and its result.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Delivery, EventStatus, Timestamp};

/// Bytes of a response that are stored.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// Characters of an error that are stored.
pub const ERROR_CHARS_MAX: usize = 500;

/// What happened to one request: the `outcome` label of metrics and the class shown to customers.
///
/// # Examples
///
/// ```
/// use wahook::model::Outcome;
///
/// assert_eq!(Outcome::RateLimited.as_str(), "rate_limited");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// 2xx.
    Ok,
    /// 3xx: redirects are never followed.
    Http3xx,
    /// Any other 4xx than the ones below.
    Http4xx,
    /// 410: the receiver wants no more deliveries.
    Gone,
    /// 429.
    RateLimited,
    /// 408 or 425: the request may be retried.
    TryAgain,
    /// 5xx.
    Http5xx,
    /// No complete response within the deadline of the request.
    Timeout,
    /// The connection was refused, or the host is unreachable.
    Connect,
    /// The name has no address, or the resolver did not answer.
    Dns,
    /// The TLS handshake failed, or the certificate is not valid.
    Tls,
    /// The connection broke before the response was complete.
    Reset,
    /// The address is not public.
    Blocked,
    /// The response is not HTTP.
    Protocol,
    /// Not an attempt: the delivery is held, because its webhook is paused or disabled.
    Held,
    /// Not an attempt: before the delivery could be made, the webhook was deleted, or ceased to
    /// take messages of this type.
    WebhookGone,
    /// Not an attempt: wahook gave the delivery up, because the message was redelivered too often
    /// without being settled, or because nats-server does not take it.
    Abandoned,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; Self::Abandoned as usize + 1] = [
        Self::Ok,
        Self::Http3xx,
        Self::Http4xx,
        Self::Gone,
        Self::RateLimited,
        Self::TryAgain,
        Self::Http5xx,
        Self::Timeout,
        Self::Connect,
        Self::Dns,
        Self::Tls,
        Self::Reset,
        Self::Blocked,
        Self::Protocol,
        Self::Held,
        Self::WebhookGone,
        Self::Abandoned,
    ];

    /// The label and the text shown to customers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Http3xx => "http_3xx",
            Self::Http4xx => "http_4xx",
            Self::Gone => "gone",
            Self::RateLimited => "rate_limited",
            Self::TryAgain => "try_again",
            Self::Http5xx => "http_5xx",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Reset => "reset",
            Self::Blocked => "blocked",
            Self::Protocol => "protocol",
            Self::Held => "held",
            Self::WebhookGone => "webhook_gone",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What follows an attempt.
///
/// # Examples
///
/// ```
/// use wahook::model::{Timestamp, Verdict};
///
/// let verdict = Verdict::Retry { at: Timestamp::from_millis(5_000) };
/// assert_ne!(verdict, Verdict::Failed { disable: false });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The receiver accepted it.
    Delivered,
    /// It is sent again at this time.
    Retry {
        /// When the next attempt is due.
        at: Timestamp,
    },
    /// It becomes a dead letter; only its owner can send it again.
    Failed {
        /// Whether the receiver wants no more deliveries (410).
        disable: bool,
    },
}

/// One attempt as the audit stores it. The key is (event id, number), so writing it twice changes
/// nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The delivery as it was before this attempt.
    pub delivery: Delivery,
    /// 1 for the first attempt; 0 for a delivery that was held before any attempt.
    pub number: u16,
    /// What happened.
    pub outcome: Outcome,
    /// The event's status after this attempt.
    pub status: EventStatus,
    /// The HTTP status, when there was a response.
    pub http_status: Option<u16>,
    /// The first [`RESPONSE_BYTES_MAX`] bytes of the response, as text.
    pub response: Option<String>,
    /// Why it failed; customers see this text.
    pub error: Option<String>,
    /// When the request started.
    pub started_at: Timestamp,
    /// From the start until the response was read or the request failed.
    pub latency_ms: u32,
    /// When the next attempt is due, if there is one.
    pub next_retry_at: Option<Timestamp>,
}

impl Attempt {
    /// Not an attempt: wahook gives the delivery up for this reason. Its number follows the last
    /// attempt's, so that it hides none.
    pub fn abandoned(delivery: Delivery, reason: String, at: Timestamp) -> Self {
        Self {
            number: delivery.attempt_count.saturating_add(1),
            delivery,
            outcome: Outcome::Abandoned,
            status: EventStatus::Failed,
            http_status: None,
            response: None,
            error: Some(reason),
            started_at: at,
            latency_ms: 0,
            next_retry_at: None,
        }
    }

    /// Leaves the response out, or the body if there is no response; `false` when there is neither.
    /// For a server that does not take the whole.
    pub fn cut(&mut self) -> bool {
        if self.response.take().is_some() {
            return true;
        }
        let was_whole = !self.delivery.is_cut();
        self.delivery.body = Bytes::new();
        was_whole
    }

    /// When the attempt ended.
    pub fn ended_at(&self) -> Timestamp {
        self.started_at
            .after(std::time::Duration::from_millis(self.latency_ms.into()))
    }
}
