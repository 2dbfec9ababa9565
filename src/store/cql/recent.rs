//! What a node keeps in memory so that a delivery at the first attempt costs one statement: sums
//! per hour, and the days whose index rows are written. Both are bounded.

use std::{
    collections::{HashMap, HashSet},
    hash::Hash,
    sync::{Mutex, MutexGuard, PoisonError},
};

use uuid::Uuid;

use crate::{
    model::{Attempt, ClientId, EventStatus, HourStats, Outcome, Timestamp, WebhookId},
    store::hours::hour_of,
};

/// A webhook within its client.
pub(super) type Key = (ClientId, WebhookId);

/// Entries of each kind; one takes some hundred bytes at most.
const ENTRIES_MAX: usize = 100_000;
/// Sums that did not grow for this many flushes are forgotten; a later attempt begins a new row.
const IDLE_FLUSHES_MAX: u8 = 6;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Days whose index row this process has written. Forgetting one costs a write.
pub(super) struct WrittenDays<T>(Mutex<HashSet<T>>);

impl<T: Eq + Hash> WrittenDays<T> {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashSet::new()))
    }

    /// Those of these days that are not written, each once.
    pub(super) fn missing(&self, days: impl Iterator<Item = T>) -> HashSet<T> {
        let written = lock(&self.0);
        days.filter(|day| !written.contains(day)).collect()
    }

    pub(super) fn add(&self, day: T) {
        let mut written = lock(&self.0);
        if written.len() >= ENTRIES_MAX {
            written.clear();
        }
        written.insert(day);
    }
}

/// The sums of one webhook and hour that this process made: one row of `webhook_stats`.
#[derive(Clone)]
pub(super) struct Sums {
    /// The row's key beside webhook and hour, so that nodes do not overwrite each other's rows.
    pub(super) writer: Uuid,
    pub(super) stats: HourStats,
    /// What the store has.
    written: HourStats,
    /// Flushes since it last grew.
    idle: u8,
}

/// The sums of the hours that may still grow.
pub(super) struct Hours(Mutex<HashMap<(Key, Timestamp), Sums>>);

impl Hours {
    pub(super) fn new() -> Self {
        Self(Mutex::new(HashMap::new()))
    }

    /// Adds an attempt to the hour in which it ended. `false` when there is no room; then it is
    /// left out.
    pub(super) fn add(&self, attempt: &Attempt) -> bool {
        if matches!(attempt.outcome, Outcome::Held | Outcome::WebhookGone) {
            return true;
        }
        let hour = hour_of(attempt.ended_at());
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
        all.retain(|_, sums| {
            sums.idle = sums.idle.saturating_add(1);
            sums.stats != sums.written || sums.idle <= IDLE_FLUSHES_MAX
        });
        all.iter()
            .filter(|(_, sums)| sums.stats != sums.written)
            .map(|(key, sums)| (*key, sums.clone()))
            .collect()
    }

    /// Notes what the store has now.
    pub(super) fn mark_written(&self, key: &(Key, Timestamp), stats: HourStats) {
        if let Some(sums) = lock(&self.0).get_mut(key) {
            sums.written = stats;
        }
    }

    /// By how much one webhook's sums are ahead of what the store has.
    pub(super) fn unwritten_of(&self, key: &Key) -> Vec<HourStats> {
        let all = lock(&self.0);
        let own = all
            .iter()
            .filter(|((owner, _), sums)| owner == key && sums.stats != sums.written);
        own.map(|(_, sums)| sums.stats.without(&sums.written))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_days_are_bounded() {
        let written = WrittenDays::new();
        for day in 0..ENTRIES_MAX + 10 {
            written.add(day);
        }
        assert_eq!(
            written.missing([0, 0, ENTRIES_MAX + 9].into_iter()),
            HashSet::from([0])
        );
        assert!(lock(&written.0).len() <= ENTRIES_MAX);
    }
}
