//! What a client may have stored.

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
    /// Dead letters.
    DeadLetters,
}

impl Quota {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Waiting, Self::DeadLetters];

    /// As subjects and metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::DeadLetters => "dead_letters",
        }
    }

    /// The limit that holds for it.
    pub fn limit(self) -> Limit {
        match self {
            Self::Waiting => Limit::WaitingBytes,
            Self::DeadLetters => Limit::DeadLetterBytes,
        }
    }
}

/// Bytes that a client has stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// See [`Quota::Waiting`].
    pub waiting_bytes: u64,
    /// See [`Quota::DeadLetters`].
    pub dead_letter_bytes: u64,
}

impl Usage {
    /// What counts for this quota.
    pub fn of(&self, quota: Quota) -> u64 {
        match quota {
            Quota::Waiting => self.waiting_bytes,
            Quota::DeadLetters => self.dead_letter_bytes,
        }
    }

    /// Sets what counts for this quota.
    pub fn set(&mut self, quota: Quota, bytes: u64) {
        match quota {
            Quota::Waiting => self.waiting_bytes = bytes,
            Quota::DeadLetters => self.dead_letter_bytes = bytes,
        }
    }
}
