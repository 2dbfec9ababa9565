//! Pure arithmetic of a lane: how long a message would wait, and when a parked one may come back.

use std::time::{Duration, Instant};

/// Below this a waiters_max_when_slow is no sign of trouble: it moves.
const SLOW_WAIT_MIN: Duration = Duration::from_millis(50);
/// No more often does the first of those of low priority look.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What a lane looks like to the next message.
#[derive(Debug, Clone, Copy)]
pub(super) struct LoadEstimate {
    /// Messages that wait for their turn already.
    pub(super) waiters: usize,
    /// What an attempt takes.
    pub(super) latency: Duration,
    pub(super) in_flight: u32,
    pub(super) rate: u32,
}

impl LoadEstimate {
    fn by_permits(self) -> Duration {
        self.latency
            .mul_f64((self.waiters + 1) as f64 / f64::from(self.in_flight.max(1)))
    }

    fn by_rate(self) -> Duration {
        // The turn that comes next is not waited for.
        Duration::from_secs_f64(self.waiters as f64 / f64::from(self.rate.max(1)))
    }

    /// Why the message should be parked rather than wait for up to `patience`;
    /// `waiters_max_when_slow` is how many may wait when the lane hardly moves. `None`: let it
    /// wait.
    pub(super) fn park(
        self,
        patience: Duration,
        waiters_max_when_slow: usize,
    ) -> Option<&'static str> {
        let by_permits = self.by_permits();
        let by_rate = self.by_rate();
        let expected = by_permits.max(by_rate);
        let crowded = self.waiters >= waiters_max_when_slow && expected >= SLOW_WAIT_MIN
            || self.waiters >= waiters_max_when_slow * 2;
        let cause = if by_rate > by_permits { "rate" } else { "busy" };
        (expected > patience || crowded).then_some(cause)
    }

    /// The distance between messages that are parked, so that they find the lane free.
    pub(super) fn interval(self) -> Duration {
        let by_rate = Duration::from_secs(1) / self.rate.max(1);
        by_rate.max(self.latency / self.in_flight.max(1))
    }
}

/// The tokens of a lane as its limiter counts them, which does not tell how many are left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tokens {
    left: f64,
    at: Instant,
}

impl Tokens {
    /// Filled for so long; `None`: for long enough.
    pub(super) fn filled(rate: u32, burst: u32, time: Option<Duration>, now: Instant) -> Self {
        let burst = f64::from(burst.max(1));
        let left = time.map_or(burst, |time| {
            burst.min(time.as_secs_f64() * f64::from(rate.max(1)))
        });
        Self { left, at: now }
    }

    /// What is there at `now`, filled at `rate` a second up to `burst`.
    pub(super) fn left(self, rate: u32, burst: u32, now: Instant) -> f64 {
        let gained = now.saturating_duration_since(self.at).as_secs_f64() * f64::from(rate.max(1));
        (self.left + gained).min(f64::from(burst.max(1)))
    }

    pub(super) fn take(&mut self, rate: u32, burst: u32, now: Instant) {
        *self = Self {
            left: (self.left(rate, burst, now) - 1.0).max(0.0),
            at: now,
        };
    }
}

/// Whether a delivery of low priority may go: nobody waits, and half of the places and of the
/// tokens stay free for live traffic, rounded down.
pub(super) fn has_spare_capacity(
    waiters: usize,
    places_free: usize,
    in_flight: u32,
    tokens: f64,
    burst: u32,
) -> bool {
    waiters == 0 && places_free > (in_flight / 2) as usize && tokens - 1.0 >= f64::from(burst / 2)
}

/// How often the first of those of low priority looks again.
pub(super) fn poll_interval(interval: Duration) -> Duration {
    interval.clamp(POLL_INTERVAL_MIN, SLOW_WAIT_MIN)
}

/// The distance between those of low priority that are parked: half as dense as others, since the
/// other half is for live traffic, and not so dense that more come at once than may wait, which
/// would be parked again.
pub(super) fn low_priority_interval(interval: Duration) -> Duration {
    interval.max(POLL_INTERVAL_MIN) * 2
}

/// What an attempt takes, as far as can be told: the average, or more when nothing has come back
/// for longer.
pub(super) fn latency(average: Duration, all_busy: bool, no_progress_for: Duration) -> Duration {
    if all_busy {
        average.max(no_progress_for)
    } else {
        average
    }
}

/// Moves the average an eighth of the way to the newest value.
pub(super) fn average(old: Option<Duration>, newest: Duration) -> Duration {
    old.map_or(newest, |old| (old * 7 + newest) / 8)
}

/// Takes the next slot at or after `earliest`.
pub(super) fn reserve(clock: &mut Instant, earliest: Instant, interval: Duration) -> Instant {
    let slot = (*clock).max(earliest);
    *clock = slot + interval;
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(2);
    const WAITERS_MAX_WHEN_SLOW: usize = 128;

    #[test]
    fn a_message_waits_or_is_parked() {
        // waiters, latency in ms, in flight, rate, what happens
        let table = [
            (0, 0, 8, 50, None),
            (0, 100, 8, 50, None),
            (40, 100, 8, 50, None),
            (101, 0, 8, 50, Some("rate")),
            (10, 10_000, 8, 50, Some("busy")),
            (127, 4, 8, 10_000, None),
            (128, 4, 8, 10_000, Some("busy")),
            (128, 1, 8, 10_000, None),
            (256, 0, 256, 10_000, Some("rate")),
            (2, 1, 0, 1, None),
            (3, 1, 0, 1, Some("rate")),
        ];
        for (waiters, latency, in_flight, rate, expected) in table {
            let view = LoadEstimate {
                waiters,
                latency: Duration::from_millis(latency),
                in_flight,
                rate,
            };
            assert_eq!(
                view.park(PATIENCE, WAITERS_MAX_WHEN_SLOW),
                expected,
                "{view:?}"
            );
        }
    }

    #[test]
    fn a_hang_is_seen_before_the_first_answer() {
        let average = Duration::from_millis(1);
        let stalled = Duration::from_millis(200);
        assert_eq!(latency(average, false, stalled), average);
        let view = LoadEstimate {
            waiters: 100,
            latency: latency(average, true, stalled),
            in_flight: 8,
            rate: 10_000,
        };
        assert_eq!(view.park(PATIENCE, WAITERS_MAX_WHEN_SLOW), Some("busy"));
    }

    #[test]
    fn parked_ones_of_low_priority_do_not_meet() {
        let millis = Duration::from_millis;
        let table = [
            (Duration::from_micros(100), millis(2)),
            (millis(20), millis(40)),
            (millis(1_000), millis(2_000)),
        ];
        for (interval, expected) in table {
            assert_eq!(low_priority_interval(interval), expected, "{interval:?}");
        }
    }

    #[test]
    fn low_priority_takes_what_live_traffic_leaves() {
        // waiters, places free, in flight, tokens, burst, whether it goes
        let table = [
            (0, 8, 8, 50.0, 50, true),
            (1, 8, 8, 50.0, 50, false),
            (0, 5, 8, 50.0, 50, true),
            (0, 4, 8, 50.0, 50, false),
            (0, 8, 8, 26.0, 50, true),
            (0, 8, 8, 25.9, 50, false),
            (0, 1, 1, 1.0, 1, true),
            (0, 0, 1, 1.0, 1, false),
            (0, 2, 2, 2.0, 2, true),
            (0, 1, 2, 2.0, 2, false),
            (0, 3, 3, 1.0, 1, true),
            (0, 8, 8, 0.5, 1, false),
        ];
        for (waiters, places, in_flight, tokens, burst, expected) in table {
            assert_eq!(
                has_spare_capacity(waiters, places, in_flight, tokens, burst),
                expected,
                "{waiters} {places} {in_flight} {tokens} {burst}"
            );
        }
    }

    #[test]
    fn tokens_are_taken_one_by_one_and_fill_up_to_the_burst() {
        let now = Instant::now();
        let mut tokens = Tokens::filled(5, 10, None, now);
        for _ in 0..12 {
            tokens.take(5, 10, now);
        }
        assert_eq!(tokens.left(5, 10, now), 0.0, "never below nothing");
        let filled = Tokens::filled(5, 10, Some(Duration::from_secs(1)), now);
        assert_eq!(
            filled.left(5, 10, now),
            5.0,
            "as much as came since another used it"
        );
        assert_eq!(tokens.left(5, 10, now + Duration::from_secs(1)), 5.0);
        assert_eq!(tokens.left(5, 10, now + Duration::from_secs(60)), 10.0);
        assert_eq!(poll_interval(Duration::ZERO), Duration::from_millis(1));
        assert_eq!(poll_interval(Duration::from_secs(9)), SLOW_WAIT_MIN);
    }

    #[test]
    fn slots_follow_each_other_and_are_never_early() {
        let now = Instant::now();
        let mut clock = now;
        let step = Duration::from_millis(20);
        let earliest = now + PATIENCE;
        let slots = [(); 3].map(|()| reserve(&mut clock, earliest, step));
        assert_eq!(slots, [earliest, earliest + step, earliest + step * 2]);
        let later = now + PATIENCE * 5;
        assert_eq!(reserve(&mut clock, later, step), later);
    }

    #[test]
    fn parked_messages_come_at_the_slower_of_rate_and_answers() {
        let view = LoadEstimate {
            waiters: 0,
            latency: Duration::from_secs(8),
            in_flight: 8,
            rate: 50,
        };
        assert_eq!(view.interval(), Duration::from_secs(1));
        assert_eq!(
            LoadEstimate {
                latency: Duration::ZERO,
                ..view
            }
            .interval(),
            Duration::from_millis(20)
        );
    }

    #[test]
    fn the_average_starts_at_the_first_value_and_follows() {
        let first = average(None, Duration::from_millis(80));
        assert_eq!(first, Duration::from_millis(80));
        assert_eq!(
            average(Some(first), Duration::ZERO),
            Duration::from_millis(70)
        );
    }
}
