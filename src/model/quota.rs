//! What a client may have stored.

use std::collections::BTreeMap;

use super::Limit;

/// What is counted for each client, in bytes.
///
/// # Examples
///
/// ```
/// use wahook::model::Quota;
///
/// assert_eq!(Quota::DeadLetters.as_str(), "dead_letters");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Quota {
    /// Messages that are not delivered yet: new, parked, due, held, or in a chat queue.
    Waiting,
    /// Those of them that are parked or due.
    Retries,
    /// Those of them that are in chat queues.
    ChatQueues,
    /// Those of them that are held.
    Held,
    /// Dead letters.
    DeadLetters,
}

impl Quota {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Retries,
        Self::ChatQueues,
        Self::Held,
        Self::DeadLetters,
    ];

    /// As subjects and metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Retries => "retries",
            Self::ChatQueues => "chat_queues",
            Self::Held => "held",
            Self::DeadLetters => "dead_letters",
        }
    }

    /// The limit that holds for it; `None`: the client has a share of a stream.
    pub fn limit(self) -> Option<Limit> {
        match self {
            Self::Waiting => Some(Limit::WaitingBytes),
            Self::DeadLetters => Some(Limit::DeadLetterBytes),
            Self::Retries | Self::ChatQueues | Self::Held => None,
        }
    }
}

/// Bytes that a client has stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Usage(BTreeMap<Quota, u64>);

impl Usage {
    /// What counts for this quota.
    pub fn of(&self, quota: Quota) -> u64 {
        self.0.get(&quota).copied().unwrap_or_default()
    }

    /// Sets what counts for this quota.
    pub fn set(&mut self, quota: Quota, bytes: u64) {
        self.0.insert(quota, bytes);
    }

    /// What waits and was not attempted yet.
    pub fn new_bytes(&self) -> u64 {
        let elsewhere = [Quota::Retries, Quota::ChatQueues, Quota::Held];
        let elsewhere: u64 = elsewhere.into_iter().map(|quota| self.of(quota)).sum();
        self.of(Quota::Waiting).saturating_sub(elsewhere)
    }
}
