//! Whether the cache of webhooks is as new as the server's bucket.
//!
//! A watch can go deaf: its server dies, or someone deletes its consumer. So each second the node
//! asks the bucket's leader for the newest revision. While the cache has that one, it is believed
//! for [`TRUST`] from the question on. After that the leader is asked for each webhook.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::{model::Timestamp, telemetry};

/// How long the cache is believed after the question that confirmed it.
pub(super) const TRUST: Duration = Duration::from_secs(2);
/// A watch that lacks something and has brought nothing for this long is deaf.
const DEAF_AFTER: Duration = Duration::from_secs(1);
/// How far a bucket is, or what a node has of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// When the bucket was made. One that is deleted and made again counts from 1 again.
    pub bucket_created_at: Timestamp,
    /// The newest revision.
    pub number: u64,
}

impl Revision {
    /// The newest one, as the server says it.
    pub(super) fn of(bucket: &async_nats::jetstream::stream::Info) -> Self {
        Self {
            bucket_created_at: bucket.created.into(),
            number: bucket.state.last_sequence,
        }
    }

    /// Whether a cache that has this one lacks nothing of a bucket that has the other.
    pub(super) fn covers(&self, other: &Self) -> bool {
        self.bucket_created_at == other.bucket_created_at && self.number >= other.number
    }
}

#[derive(Debug, Default)]
struct State {
    /// When the question was sent whose answer showed that the cache is complete.
    confirmed_at: Option<Instant>,
    /// When the watch was opened, or last brought something.
    progress_at: Option<Instant>,
    is_deaf: bool,
}

/// Until when the cache may be believed.
#[derive(Default)]
pub(super) struct Freshness {
    state: Mutex<State>,
    /// Tells the watch that it brings nothing.
    deaf: Notify,
}

impl Freshness {
    /// Whether the cache is believed now.
    pub(super) fn is_trusted(&self, now: Instant) -> bool {
        let confirmed_at = self.state().confirmed_at;
        confirmed_at.is_some_and(|at| now.saturating_duration_since(at) < TRUST)
    }

    /// The cache has all that the leader had when it was asked.
    pub(super) fn confirm(&self, asked_at: Instant) {
        let mut state = self.state();
        state.confirmed_at = state.confirmed_at.max(Some(asked_at));
        if std::mem::take(&mut state.is_deaf) {
            tracing::info!("the watch of the webhooks brings changes again");
        }
    }

    /// The watch was opened, or brought something.
    pub(super) fn note_progress(&self, now: Instant) {
        self.state().progress_at = Some(now);
    }

    /// The watch did not bring what the leader has. It may only be slow: many webhooks may have
    /// changed.
    pub(super) fn is_behind(&self, now: Instant) {
        let mut state = self.state();
        let is_moving = state
            .progress_at
            .is_none_or(|at| now.saturating_duration_since(at) < DEAF_AFTER);
        if is_moving {
            return;
        }
        let was_deaf = std::mem::replace(&mut state.is_deaf, true);
        drop(state);
        if !was_deaf {
            telemetry::error("bus", "deaf_watch");
            tracing::warn!(
                "the watch of the webhooks brings no changes: it is opened again, and the server \
                 is asked for each webhook until it does"
            );
        }
        self.deaf.notify_waiters();
    }

    /// Returns when the watch is found deaf.
    pub(super) async fn wait_until_deaf(&self) {
        self.deaf.notified().await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(created_ms: i64, number: u64) -> Revision {
        Revision {
            bucket_created_at: Timestamp::from_millis(created_ms),
            number,
        }
    }

    #[test]
    fn a_cache_covers_older_revisions_of_the_same_bucket_alone() {
        let cache = revision(1, 7);
        for (bucket, covers) in [
            (revision(1, 6), true),
            (revision(1, 7), true),
            (revision(1, 8), false),
            (revision(2, 1), false),
        ] {
            assert_eq!(cache.covers(&bucket), covers, "{bucket:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_is_deaf_when_it_lacks_something_and_brings_nothing() {
        let freshness = Freshness::default();
        let opened_at = Instant::now();
        let found_deaf = async |after_ms| {
            let deaf = std::pin::pin!(freshness.wait_until_deaf());
            let mut deaf = deaf;
            // Registers before the verdict.
            assert!(futures_util::poll!(deaf.as_mut()).is_pending());
            freshness.is_behind(opened_at + Duration::from_millis(after_ms));
            futures_util::poll!(deaf.as_mut()).is_ready()
        };
        assert!(!found_deaf(5_000).await, "it is not open yet");
        freshness.note_progress(opened_at);
        assert!(!found_deaf(999).await, "it is slow");
        assert!(found_deaf(1_000).await);
        freshness.note_progress(opened_at + Duration::from_millis(1_500));
        assert!(!found_deaf(2_400).await, "it goes on");
    }

    #[test]
    fn a_confirmed_cache_is_believed_for_two_seconds_from_the_question_on() {
        let freshness = Freshness::default();
        let asked_at = Instant::now();
        assert!(!freshness.is_trusted(asked_at));
        freshness.confirm(asked_at);
        freshness.is_behind(asked_at);
        for (after_ms, trusted) in [(0, true), (1_999, true), (2_000, false)] {
            let now = asked_at + Duration::from_millis(after_ms);
            assert_eq!(freshness.is_trusted(now), trusted, "after {after_ms} ms");
        }
        let later = asked_at + Duration::from_secs(1);
        freshness.confirm(later);
        // The answer of an earlier question comes last.
        freshness.confirm(asked_at);
        assert!(freshness.is_trusted(asked_at + Duration::from_millis(2_500)));
    }
}
