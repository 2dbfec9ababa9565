//! One try to hand a delivery over, and what came of it.

use serde::{Deserialize, Serialize};

use super::{Delivery, EventStatus, Timestamp};

/// Bytes of a response that are kept.
pub const RESPONSE_BYTES_MAX: usize = 16 * 1024;
/// Characters of an error that are kept.
pub const ERROR_CHARS_MAX: usize = 500;

/// What happened on the wire: the `outcome` label of metrics and the class shown to the customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// 2xx.
    Ok,
    /// 3xx: never followed.
    Http3xx,
    /// 4xx but those named below.
    Http4xx,
    /// 410: the receiver wants no more.
    Gone,
    /// 429.
    RateLimited,
    /// 408 or 425: worth another try.
    TryAgain,
    /// 5xx.
    Http5xx,
    /// No full answer within the total deadline.
    Timeout,
    /// Refused or unreachable.
    Connect,
    /// The name has no address, or the resolver did not answer.
    Dns,
    /// Handshake or certificate.
    Tls,
    /// The connection broke before a full answer.
    Reset,
    /// The address is one that wahook never calls.
    Blocked,
    /// An answer that is no HTTP.
    Protocol,
    /// Not an attempt: the delivery waits, since its webhook is paused or disabled.
    Held,
    /// Not an attempt: the webhook was deleted before the delivery could be made.
    WebhookGone,
    /// Not an attempt: handed out again and again without ever being settled, so taken out of the
    /// stream.
    Abandoned,
}

impl Outcome {
    /// Every one.
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

/// What is done after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The receiver took it.
    Delivered,
    /// Try again at this time.
    Retry {
        /// When the next attempt is due.
        at: Timestamp,
    },
    /// No further try by itself: to the dead letters.
    Failed {
        /// Whether the receiver asked to be called no more (410).
        disable: bool,
    },
}

/// One attempt as the audit keeps it. The key is (event id, number): writing it again changes
/// nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// What was to be delivered, as it stood before this attempt.
    pub delivery: Delivery,
    /// 1 for the first attempt; 0 stands for a delivery that was held before any.
    pub number: u16,
    /// What happened.
    pub outcome: Outcome,
    /// The event's status after this attempt.
    pub status: EventStatus,
    /// The answer's status, when there was an answer.
    pub http_status: Option<u16>,
    /// The answer's first [`RESPONSE_BYTES_MAX`] bytes, as text.
    pub response: Option<String>,
    /// Why it failed, in words fit for the customer.
    pub error: Option<String>,
    /// When the request began.
    pub started_at: Timestamp,
    /// From then until the answer was read, or the failure known.
    pub latency_ms: u32,
    /// When the next attempt is due, if there is one.
    pub next_retry_at: Option<Timestamp>,
}

impl Attempt {
    /// When the attempt was over.
    pub fn ended_at(&self) -> Timestamp {
        self.started_at
            .after(std::time::Duration::from_millis(self.latency_ms.into()))
    }
}
