//! Keeps WA_RETRY below its limit.
//!
//! The server refuses `discard: new` on a stream with schedules, so at its limit the stream would
//! drop the oldest retries. All publishers therefore stop before it: each asks the stream how full
//! it is, and may then publish a small [share](SHARE) of what is left, for a [moment](VALIDITY).
//! What several nodes may publish at once, by readings that are a moment old, is less than what is
//! left, so together they come close to the limit and never reach it.
//!
//! A due retry needs no room: the server replaces the schedule by its copy.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_nats::jetstream;
use tokio::time::sleep;

use super::{Error, room::retry_limit};

const STREAM: &str = "WA_RETRY";
/// The part of what is left that one publisher may use until it asks again. Eight nodes with
/// readings of different age stay below the whole; [`retry_limit`] leaves more than the largest
/// message times this above `deliver.retry_bytes_max`.
const SHARE: u64 = 32;
/// How long a reading counts.
const VALIDITY: Duration = Duration::from_millis(250);
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

#[derive(Default)]
struct Allowance {
    bytes: u64,
    read_at: Option<Instant>,
}

impl Allowance {
    /// After a reading at `now` that found this much room.
    fn renewed(room: u64, now: Instant) -> Self {
        Self {
            bytes: room / SHARE,
            read_at: Some(now),
        }
    }

    /// Takes so many bytes, if the reading still counts and there are enough.
    fn take(&mut self, bytes: u64, now: Instant) -> bool {
        let counts = self
            .read_at
            .is_some_and(|read_at| now.saturating_duration_since(read_at) < VALIDITY);
        if !counts || self.bytes < bytes {
            return false;
        }
        self.bytes -= bytes;
        true
    }
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
            let read_at = self.allowance().read_at;
            let pause = read_at.map_or(Duration::ZERO, |read_at| {
                READ_INTERVAL.saturating_sub(read_at.elapsed())
            });
            sleep(pause).await;
            // Before the reading: what is published while it is made is not in it.
            let now = Instant::now();
            let room = self.limit.saturating_sub(self.stored().await?);
            *self.allowance() = Allowance::renewed(room, now);
        }
    }

    /// Bytes that the stream holds.
    async fn stored(&self) -> Result<u64, Error> {
        let stream = self.context.get_stream(STREAM).await?;
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

    #[test]
    fn part_of_the_room_may_be_taken_for_a_moment() {
        let start = Instant::now();
        let mut none = Allowance::default();
        assert!(!none.take(1, start), "nothing was read yet");
        let mut allowance = Allowance::renewed(3200, start);
        assert!(allowance.take(60, start));
        assert!(!allowance.take(41, start), "more than a share");
        assert!(allowance.take(40, start));
        let mut old = Allowance::renewed(3200, start);
        assert!(!old.take(1, start + VALIDITY));
    }

    /// Eight publishers that take all they may, with readings as old as they may be, in the order
    /// that hurts most.
    #[test]
    fn eight_publishers_together_stay_below_the_limit() {
        const LIMIT: u64 = 1_000_000_000;
        let mut stored = 0;
        for round in 0..1000 {
            // One reads and waits, while the others read as often as they may and fill.
            let kept = Allowance::renewed(LIMIT - stored, Instant::now()).bytes;
            for _ in 0..VALIDITY.as_millis() / READ_INTERVAL.as_millis() {
                for _ in 0..7 {
                    stored += Allowance::renewed(LIMIT - stored, Instant::now()).bytes;
                }
            }
            stored += kept;
            assert!(stored < LIMIT, "in round {round}");
        }
    }
}
