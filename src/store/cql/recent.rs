//! What is kept for a moment, so that the happy path stays one statement: sums per hour, and which
//! days are known to be listed. All of it bounded.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use crate::model::{Attempt, ClientId, EventStatus, HourStats, Outcome, Timestamp, WebhookId};

/// A webhook within its client.
pub(super) type Key = (ClientId, WebhookId);

/// Entries of each kind; one takes some hundred bytes at most.
const ENTRIES_MAX: usize = 100_000;
const HOUR_MS: i64 = 3_600_000;
/// Sums that nobody added to for so many flushes are let go; what comes later begins a row of its
/// own.
const IDLE_FLUSHES: u8 = 6;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Things known to be written. Forgetting one costs a write.
pub(super) struct Known<T>(Mutex<HashSet<T>>);

impl<T: Eq + Hash> Known<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashSet::new()))
    }

    /// Those of them that are not known; each once.
    pub(super) fn unknown(&self, some: impl Iterator<Item = T>) -> HashSet<T> {
        let known = lock(&self.0);
        some.filter(|one| !known.contains(one)).collect()
    }

    pub(super) fn add(&self, one: T) {
        let mut known = lock(&self.0);
        if known.len() >= ENTRIES_MAX {
            known.clear();
        }
        known.insert(one);
    }
}

/// Sums of one webhook and hour, as one row of its own holds them.
#[derive(Clone)]
pub(super) struct Sums {
    pub(super) writer: Uuid,
    pub(super) stats: HourStats,
    written: HourStats,
    idle: u8,
}

/// Sums of the hours that are still added to.
pub(super) struct Hours(Mutex<HashMap<(Key, Timestamp), Sums>>);

impl Hours {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// Adds an attempt to the hour of its end. `false` when there is no room, and it is left out.
    pub(super) fn add(&self, attempt: &Attempt) -> bool {
        if matches!(attempt.outcome, Outcome::Held | Outcome::WebhookGone) {
            return true;
        }
        let ended = attempt.ended_at().millis();
        let hour = Timestamp::from_millis(ended - ended.rem_euclid(HOUR_MS));
        let key = (
            (attempt.delivery.client_id, attempt.delivery.webhook_id),
            hour,
        );
        let mut all = lock(&self.0);
        if all.len() >= ENTRIES_MAX && !all.contains_key(&key) {
            return false;
        }
        let sums = all.entry(key).or_insert_with(|| {
            let stats = HourStats::new(hour);
            Sums {
                writer: Uuid::now_v7(),
                stats,
                written: stats,
                idle: 0,
            }
        });
        sums.idle = 0;
        sums.stats.attempts += 1;
        sums.stats.delivered += u64::from(attempt.status == EventStatus::Delivered);
        sums.stats.failed += u64::from(attempt.status == EventStatus::Failed);
        sums.stats.latency_sum_ms += u64::from(attempt.latency_ms);
        sums.stats.latency_max_ms = sums.stats.latency_max_ms.max(attempt.latency_ms.into());
        sums.stats.body_bytes += attempt.delivery.body.len() as u64;
        true
    }

    /// What the store does not have yet.
    pub(super) fn unwritten(&self) -> Vec<((Key, Timestamp), Sums)> {
        let mut all = lock(&self.0);
        all.retain(|_, one| {
            one.idle = one.idle.saturating_add(1);
            one.stats != one.written || one.idle <= IDLE_FLUSHES
        });
        all.iter()
            .filter(|(_, one)| one.stats != one.written)
            .map(|(key, one)| (*key, one.clone()))
            .collect()
    }

    /// The store has these.
    pub(super) fn wrote(&self, key: &(Key, Timestamp), stats: HourStats) {
        if let Some(sums) = lock(&self.0).get_mut(key) {
            sums.written = stats;
        }
    }

    /// What is not in the store yet, of one webhook, as differences to what is.
    pub(super) fn ahead(&self, key: &Key) -> Vec<HourStats> {
        let all = lock(&self.0);
        let own = all
            .iter()
            .filter(|((one, _), sums)| one == key && sums.stats != sums.written);
        own.map(|(_, sums)| sums.stats.without(&sums.written))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_bounded() {
        let known = Known::new();
        for one in 0..ENTRIES_MAX + 10 {
            known.add(one);
        }
        assert_eq!(
            known.unknown([0, 0, ENTRIES_MAX + 9].into_iter()),
            HashSet::from([0])
        );
        assert!(lock(&known.0).len() <= ENTRIES_MAX);
    }
}
