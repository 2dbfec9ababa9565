//! The time of nats-server's clock.
//!
//! The server fires schedules by its own clock, and stamps each message with it. So this is the one
//! time that all nodes agree on: what a node writes into schedules, records and signatures comes
//! from [`ServerClock::now`]. Between two readings it goes on with this machine's monotonic clock.
//! The wall clock of this machine is only compared with it.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use crate::model::Timestamp;

/// How much a clock may gain or lose against another in this share of the time.
const DRIFT_SHARE: u32 = 1000;

/// What an answer of the server says about its clock.
#[derive(Debug, Clone, Copy)]
struct Reading {
    time: Timestamp,
    /// The middle of the question's way and back.
    at: Instant,
    /// How far `time` may be off.
    error: Duration,
}

impl Reading {
    fn new(time: Timestamp, asked_at: Instant, answered_at: Instant) -> Self {
        let error = answered_at.saturating_duration_since(asked_at) / 2;
        Self {
            time,
            at: asked_at + error,
            error,
        }
    }

    fn time_at(&self, now: Instant) -> Timestamp {
        self.time.after(now.saturating_duration_since(self.at))
    }

    fn error_at(&self, now: Instant) -> Duration {
        self.error + now.saturating_duration_since(self.at) / DRIFT_SHARE
    }

    /// Whether this one says more than an earlier one: it is at least as exact, or the server's
    /// clock was set.
    fn replaces(&self, earlier: &Self) -> bool {
        let expected = earlier.time_at(self.at);
        let difference = expected.since(self.time).max(self.time.since(expected));
        let error = earlier.error_at(self.at);
        // Both are given in whole milliseconds.
        self.error <= error || difference > error + self.error + Duration::from_millis(2)
    }
}

/// The newest reading that counts. Until there is one, the wall clock is all there is.
#[derive(Default)]
pub(super) struct ServerClock(Mutex<Option<Reading>>);

impl ServerClock {
    /// Takes in the time of an answer.
    pub(super) fn read(&self, time: Timestamp, asked_at: Instant, answered_at: Instant) {
        let reading = Reading::new(time, asked_at, answered_at);
        let mut known = self.reading();
        if known.is_none_or(|known| reading.replaces(&known)) {
            *known = Some(reading);
        }
    }

    /// The server's time now.
    pub(super) fn now(&self) -> Timestamp {
        let known = *self.reading();
        known.map_or_else(wall_clock, |known| known.time_at(Instant::now()))
    }

    /// By how many milliseconds this machine's wall clock is ahead of the server's; negative when
    /// it is behind, `None` before the first reading.
    pub(super) fn offset_ms(&self) -> Option<i64> {
        let known = (*self.reading())?;
        let server = known.time_at(Instant::now());
        Some(wall_clock().millis() - server.millis())
    }

    fn reading(&self) -> MutexGuard<'_, Option<Reading>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wall_clock() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: Timestamp = Timestamp::EPOCH;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn time_goes_on_from_the_middle_of_the_answers_way() {
        let asked_at = Instant::now();
        let reading = Reading::new(SERVER, asked_at, asked_at + ms(40));
        assert_eq!(reading.time_at(asked_at + ms(20)), SERVER);
        assert_eq!(reading.time_at(asked_at + ms(1020)), SERVER.after(ms(1000)));
        assert_eq!(reading.error_at(asked_at + ms(10_020)), ms(30));
    }

    #[test]
    fn a_slow_answer_replaces_a_quick_one_only_when_the_clock_was_set_or_the_quick_one_is_old() {
        let start = Instant::now();
        let quick = Reading::new(SERVER, start, start + ms(2));
        let slow = |after: u64, shift: i64| {
            let asked_at = start + ms(after);
            let time = Timestamp::from_millis(SERVER.millis() + after as i64 + 150 + shift);
            Reading::new(time, asked_at, asked_at + ms(300))
        };
        for (after, shift, replaces) in [
            (1_000, 0, false),
            (1_000, 100, false),
            (1_000, -100, false),
            (1_000, 5_000, true),
            (1_000, -5_000, true),
            (200_000, 0, true),
        ] {
            assert_eq!(
                slow(after, shift).replaces(&quick),
                replaces,
                "after {after} ms, off by {shift} ms"
            );
        }
        assert!(Reading::new(SERVER.after(ms(9)), start + ms(9), start + ms(11)).replaces(&quick));
    }

    #[test]
    fn the_wall_clock_counts_until_the_first_reading_and_is_compared_with_it_then() {
        let clock = ServerClock::default();
        assert_eq!(clock.offset_ms(), None);
        let before = wall_clock();
        assert!(clock.now() >= before);
        let now = Instant::now();
        let hour = ms(3_600_000);
        clock.read(before.after(hour), now, now);
        assert!(clock.now() >= before.after(hour));
        let offset = clock.offset_ms().expect("was read");
        assert!((-3_600_000..-3_590_000).contains(&offset), "{offset}");
    }
}
