//! What this process knows of the bytes that clients have stored.
//!
//! Whoever stores or removes a message notes its size here. Once a second the sums go to counters
//! in WA_USAGE, which add up what all processes noted. The counters answer with their new value.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{Stream, fills::Fills};
use crate::{
    model::{ClientId, Quota},
    wire::subject,
};

/// How long a value of a counter is believed.
const FRESH: Duration = Duration::from_secs(1);
/// How long a client is remembered that stores nothing.
const IDLE: Duration = Duration::from_secs(60);

pub(super) type Key = (Quota, ClientId);

#[derive(Default)]
struct Count {
    /// Noted here, and not in the counter yet.
    pending: i64,
    /// On its way to the counter.
    sent: i64,
    /// The counter's last value, and when it was asked for.
    known: Option<(i64, Instant)>,
}

/// The sums of this process.
#[derive(Default)]
pub(super) struct UsageCounts {
    counts: Mutex<HashMap<Key, Count>>,
    fills: Fills,
}

impl UsageCounts {
    /// A message of this subject was stored (bytes > 0) or removed.
    pub(super) fn note(&self, subject: &str, bytes: i64) {
        let Some((client, quotas)) = subject::counted(subject) else {
            return;
        };
        for quota in quotas {
            self.note_for((*quota, client), bytes);
        }
        if let Some(quota) = quotas.last() {
            self.fills.note(stream_of(*quota), bytes);
        }
    }

    /// How full the streams are.
    pub(super) fn fills(&self) -> &Fills {
        &self.fills
    }

    pub(super) fn note_for(&self, key: Key, bytes: i64) {
        self.counts().entry(key).or_default().pending += bytes;
    }

    /// What is to be added to the counters now. Each is to be answered by [`Self::added`] or
    /// [`Self::failed`].
    pub(super) fn take(&self, now: Instant) -> Vec<(Key, i64)> {
        let mut counts = self.counts();
        counts.retain(|_, count| {
            let is_known = count
                .known
                .is_some_and(|(_, at)| now.saturating_duration_since(at) < IDLE);
            count.pending != 0 || count.sent != 0 || is_known
        });
        let changed = counts.iter_mut().filter(|(_, count)| count.pending != 0);
        changed
            .map(|(key, count)| {
                let bytes = std::mem::take(&mut count.pending);
                count.sent += bytes;
                (*key, bytes)
            })
            .collect()
    }

    /// The counter took these bytes at `asked_at`, and has this value now.
    pub(super) fn added(&self, key: Key, bytes: i64, value: i64, asked_at: Instant) {
        let mut counts = self.counts();
        let count = counts.entry(key).or_default();
        count.sent -= bytes;
        count.known = Some((value, asked_at));
    }

    /// The counter did not take these bytes, as far as is known.
    pub(super) fn failed(&self, key: Key, bytes: i64) {
        let mut counts = self.counts();
        let count = counts.entry(key).or_default();
        count.sent -= bytes;
        count.pending += bytes;
    }

    /// The counter's value at `asked_at`.
    pub(super) fn learn(&self, key: Key, value: i64, asked_at: Instant) {
        self.counts().entry(key).or_default().known = Some((value, asked_at));
    }

    /// The bytes that a client has stored, by a fresh value and what was noted here since; `None`
    /// without a fresh value.
    pub(super) fn bytes(&self, key: Key, now: Instant) -> Option<u64> {
        let counts = self.counts();
        let count = counts.get(&key)?;
        let (value, at) = count.known?;
        let is_fresh = now.saturating_duration_since(at) < FRESH;
        let bytes = value + count.pending + count.sent;
        is_fresh.then(|| u64::try_from(bytes).unwrap_or(0))
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<Key, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a message lies for which this is the last that it counts for.
fn stream_of(quota: Quota) -> Stream {
    match quota {
        Quota::Waiting => Stream::Messages,
        Quota::Retries => Stream::Retries,
        Quota::ChatQueues => Stream::ChatQueues,
        Quota::Held => Stream::Held,
        Quota::DeadLetters => Stream::DeadLetters,
    }
}

/// Sizes are far below the limit.
pub(super) fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        (Quota::Waiting, 7.try_into().expect("in range"))
    }

    #[test]
    fn what_is_noted_counts_at_once_and_is_sent_once() {
        let now = Instant::now();
        let counts = UsageCounts::default();
        counts.note("wa.msg.7.4915112345678", 100);
        counts.note("wa.msg.3.7.4915112345678", -30);
        counts.note("wa.result.3", 1000);
        assert_eq!(counts.bytes(key(), now), None, "no counter was asked");
        counts.learn(key(), 5, now);
        assert_eq!(counts.bytes(key(), now), Some(75));
        assert_eq!(counts.take(now), [(key(), 70)]);
        assert_eq!(counts.take(now), []);
        assert_eq!(counts.bytes(key(), now), Some(75), "still on its way");
        counts.added(key(), 70, 80, now);
        assert_eq!(counts.bytes(key(), now), Some(80));
        assert_eq!(counts.bytes(key(), now + FRESH), None);
    }

    #[test]
    fn what_did_not_get_through_is_sent_again_and_idle_clients_are_forgotten() {
        let now = Instant::now();
        let counts = UsageCounts::default();
        counts.note_for(key(), 9);
        let taken = counts.take(now);
        counts.failed(key(), taken[0].1);
        assert_eq!(counts.take(now), [(key(), 9)]);
        counts.added(key(), 9, -4, now);
        assert_eq!(counts.bytes(key(), now), Some(0), "never below nothing");
        counts.take(now + IDLE);
        assert!(counts.counts().is_empty());
    }
}
