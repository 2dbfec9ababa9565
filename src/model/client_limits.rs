//! Limits that can be set for one client.

use std::{collections::BTreeMap, ops::RangeInclusive};

use serde::{Deserialize, Serialize};

const KIB: u64 = 1 << 10;
const TIB: u64 = 1 << 40;

/// A limit of what a client may do or store. The setting `quota.<name>` holds for each client that
/// has no limit of its own.
///
/// # Examples
///
/// ```
/// use wahook::model::Limit;
///
/// assert_eq!(Limit::parse("waiting_bytes_max"), Some(Limit::WaitingBytes));
/// assert_eq!(Limit::parse("waiting"), None);
/// assert!(Limit::MessagesPerSecond.bounds().contains(&1));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Limit {
    /// Bytes of messages that are not delivered yet.
    WaitingBytes,
    /// Bytes of dead letters.
    DeadLetterBytes,
    /// Messages published per second, to each process.
    MessagesPerSecond,
    /// Registered webhooks.
    Webhooks,
}

impl Limit {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::WaitingBytes,
        Self::DeadLetterBytes,
        Self::MessagesPerSecond,
        Self::Webhooks,
    ];

    /// As settings and commands name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WaitingBytes => "waiting_bytes_max",
            Self::DeadLetterBytes => "dead_letter_bytes_max",
            Self::MessagesPerSecond => "messages_per_second",
            Self::Webhooks => "webhooks_max",
        }
    }

    /// The limit of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|limit| limit.as_str() == name)
    }

    /// What it may be.
    pub fn bounds(self) -> RangeInclusive<u64> {
        match self {
            Self::WaitingBytes | Self::DeadLetterBytes => 64 * KIB..=16 * TIB,
            Self::MessagesPerSecond => 1..=100_000,
            Self::Webhooks => 1..=1_000_000,
        }
    }

    /// Whether it is a number of bytes.
    pub fn is_in_bytes(self) -> bool {
        match self {
            Self::WaitingBytes | Self::DeadLetterBytes => true,
            Self::MessagesPerSecond | Self::Webhooks => false,
        }
    }
}

/// The limits that were set for one client. Others follow the settings.
///
/// # Examples
///
/// ```
/// use wahook::model::{Limit, OwnLimits};
///
/// let mut limits = OwnLimits::default();
/// limits.set(Limit::MessagesPerSecond, Some(5));
/// assert_eq!(limits.get(Limit::MessagesPerSecond), Some(5));
/// limits.set(Limit::MessagesPerSecond, None);
/// assert!(limits.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, u64>", into = "BTreeMap<String, u64>")]
pub struct OwnLimits(BTreeMap<Limit, u64>);

impl OwnLimits {
    /// The client's own limit; `None`: the setting holds.
    pub fn get(&self, limit: Limit) -> Option<u64> {
        self.0.get(&limit).copied()
    }

    /// Sets one; `None` goes back to the setting.
    pub fn set(&mut self, limit: Limit, value: Option<u64>) {
        match value {
            Some(value) => self.0.insert(limit, value),
            None => self.0.remove(&limit),
        };
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Names that a newer version wrote are passed over.
impl From<BTreeMap<String, u64>> for OwnLimits {
    fn from(stored: BTreeMap<String, u64>) -> Self {
        let known = stored
            .into_iter()
            .filter_map(|(name, value)| Some((Limit::parse(&name)?, value)));
        Self(known.collect())
    }
}

impl From<OwnLimits> for BTreeMap<String, u64> {
    fn from(limits: OwnLimits) -> Self {
        let named = limits.0.into_iter();
        named
            .map(|(limit, value)| (limit.as_str().to_owned(), value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_newer_version_wrote_is_read_as_far_as_it_is_known() {
        let stored = r#"{"messages_per_second":7,"of_the_future":1}"#;
        let limits: OwnLimits = serde_json::from_str(stored).expect("read");
        assert_eq!(limits.get(Limit::MessagesPerSecond), Some(7));
        let written = serde_json::to_string(&limits).expect("written");
        assert_eq!(written, r#"{"messages_per_second":7}"#);
    }
}
