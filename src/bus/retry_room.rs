//! Keeps WA_RETRY below its limit.
//!
//! The server refuses `discard: new` on a stream with schedules, so at its limit the stream would
//! drop the oldest retries. All publishers therefore stop before it: each asks the stream how full
//! it is, and may then publish a small [share](SHARE) of what is left.
//!
//! A reading counts by when it was asked for, since a busy server answers late. What the others may
//! have published since then is taken off: each asks again at most every [`READ_INTERVAL`], and
//! publishes at most [`SHARE_BYTES_MAX`] after each reading. So together they come close to the
//! limit and never reach it.
//!
//! A due retry needs no room: the server replaces the schedule by its copy.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_nats::jetstream;
use tokio::time::sleep;

use super::{Error, patience::soon, room::retry_limit};
use crate::wire::MESSAGE_BYTES_MAX;

const STREAM: &str = "WA_RETRY";
/// The part of what is left that one publisher may use until it asks again. Eight nodes stay below
/// the whole; [`retry_limit`] leaves more than the largest message times this above
/// `deliver.retry_bytes_max`.
const SHARE: u64 = 32;
/// The most of it, so that a reading counts for as long as answers of a busy server take: the
/// others publish less than 400 MiB a second. One of the largest messages fits.
const SHARE_BYTES_MAX: u64 = MESSAGE_BYTES_MAX as u64 + MESSAGE_BYTES_MAX as u64 / 4;
/// Other publishers than this one.
const OTHERS: u64 = 7;
/// Between two readings of one publisher.
const READ_INTERVAL: Duration = Duration::from_millis(50);
/// What a stored message takes beside payload and subject: headers and the server's record.
const OVERHEAD_BYTES: u64 = 512;

/// What this process may publish to WA_RETRY.
pub(super) struct RetryRoom {
    context: jetstream::Context,
    limit: u64,
    allowance: Mutex<Allowance>,
    /// One reading at a time.
    reading: tokio::sync::Mutex<()>,
}

/// What may be published after a reading.
#[derive(Default)]
struct Allowance {
    /// What the reading found.
    room: u64,
    /// What was published since.
    taken: u64,
    /// When it was asked for.
    asked_at: Option<Instant>,
}

impl Allowance {
    /// After a reading that was asked for at `asked_at` and found this much room.
    fn renewed(room: u64, asked_at: Instant) -> Self {
        Self {
            room,
            taken: 0,
            asked_at: Some(asked_at),
        }
    }

    /// Takes so many bytes, if there are enough.
    fn take(&mut self, bytes: u64, now: Instant) -> bool {
        let age = |asked_at| now.saturating_duration_since(asked_at);
        let allowed = self
            .asked_at
            .map_or(0, |asked_at| share(self.room, age(asked_at)));
        if allowed.saturating_sub(self.taken) < bytes {
            return false;
        }
        self.taken += bytes;
        true
    }
}

/// What one publisher may use of the room that a reading of this age found.
fn share(room: u64, age: Duration) -> u64 {
    // What a reading before that one allows, and one that begins now.
    let rounds = age.as_millis() / READ_INTERVAL.as_millis() + 2;
    let rounds = u64::try_from(rounds).unwrap_or(u64::MAX);
    let taken_max = rounds.saturating_mul(OTHERS * SHARE_BYTES_MAX);
    // Where little is left, nobody takes so much.
    let kept = 1.0 - OTHERS as f64 / SHARE as f64;
    let left_of_little = room as f64 * kept.powi(i32::try_from(rounds).unwrap_or(i32::MAX));
    let left = room.saturating_sub(taken_max).max(left_of_little as u64);
    // All of them may have readings as old as this one.
    (room / SHARE).min(left / (OTHERS + 1)).min(SHARE_BYTES_MAX)
}

impl RetryRoom {
    pub(super) fn new(context: jetstream::Context, retry_bytes_max: u64) -> Self {
        Self {
            context,
            limit: retry_limit(retry_bytes_max),
            allowance: Mutex::default(),
            reading: tokio::sync::Mutex::default(),
        }
    }

    /// Waits until a message of this size may be published.
    ///
    /// # Errors
    /// [`Error::Full`] when it may not within `patience`; else when the stream cannot be read.
    pub(super) async fn acquire(
        &self,
        message_bytes: usize,
        patience: Duration,
    ) -> Result<(), Error> {
        let bytes = message_bytes as u64 + OVERHEAD_BYTES;
        let deadline = Instant::now() + patience;
        loop {
            if self.allowance().take(bytes, Instant::now()) {
                return Ok(());
            }
            let _turn = self.reading.lock().await;
            if self.allowance().take(bytes, Instant::now()) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Error::Full);
            }
            let asked_at = self.allowance().asked_at;
            let pause = asked_at.map_or(Duration::ZERO, |asked_at| {
                READ_INTERVAL.saturating_sub(asked_at.elapsed())
            });
            sleep(pause).await;
            // Before the reading: what is published while it is made is not in it.
            let asked_at = Instant::now();
            let room = self.limit.saturating_sub(self.stored().await?);
            *self.allowance() = Allowance::renewed(room, asked_at);
        }
    }

    /// Bytes that the stream holds.
    async fn stored(&self) -> Result<u64, Error> {
        let stream = soon(|| async { Ok(self.context.get_stream(STREAM).await?) }).await?;
        Ok(stream.cached_info().state.bytes)
    }

    fn allowance(&self) -> MutexGuard<'_, Allowance> {
        self.allowance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn part_of_the_room_may_be_taken_and_less_of_it_by_an_old_reading() {
        let start = Instant::now();
        let mut none = Allowance::default();
        assert!(!none.take(1, start), "nothing was read yet");
        let all = share(64 * MIB, Duration::ZERO);
        assert_eq!(all, 2 * MIB);
        let mut allowance = Allowance::renewed(64 * MIB, start);
        assert!(allowance.take(all - 10, start));
        assert!(!allowance.take(11, start), "more than a share");
        assert!(allowance.take(10, start));
        let mut old = Allowance::renewed(64 * MIB, start);
        assert!(
            !old.take(all, start + READ_INTERVAL * 9),
            "others took some"
        );
        assert!(old.take(1000, start + READ_INTERVAL * 9));
    }

    #[test]
    fn late_reading_allows_the_largest_message_where_there_is_room() {
        let largest = MESSAGE_BYTES_MAX as u64 + OVERHEAD_BYTES;
        for (room, late_ms) in [(1 << 30, 0), (1 << 30, 1_000), (2 << 30, 3_000)] {
            let allowed = share(room, Duration::from_millis(late_ms));
            assert!(allowed >= largest, "{room} after {late_ms} ms: {allowed}");
        }
        assert_eq!(share(1 << 30, Duration::from_secs(60)), 0);
    }

    /// Eight publishers that take all they may, one of them by a reading of any age, in the order
    /// that hurts most.
    #[test]
    fn eight_publishers_together_stay_below_the_limit() {
        for limit in [10 * MIB, 1_000_000_000, 64 << 30] {
            for late in [0, 1, 5, 20, 60, 200] {
                stays_below(limit, late);
            }
        }
    }

    fn stays_below(limit: u64, late: u32) {
        let mut stored = 0;
        for round in 0..1000 {
            // One reads and waits, while the others read as often as they may and fill.
            let room = limit - stored;
            for _ in 0..=late {
                stored += OTHERS * share(limit - stored, Duration::ZERO);
            }
            stored += share(room, READ_INTERVAL * late);
            assert!(stored < limit, "{limit}, {late}: in round {round}");
        }
    }
}
