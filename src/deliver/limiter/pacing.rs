//! The arithmetic of a limiter: how long a message would wait, and when a parked one may come back.

use std::time::{Duration, Instant};

/// Below this many waiters are no sign of trouble: they move.
const SLOW_WAIT_MIN: Duration = Duration::from_millis(50);
/// A slot is never further ahead than this of the time from which the message may go. So nothing
/// stays away for long that this node has forgotten, or that another parked.
pub(super) const SLOTS_AHEAD_MAX: Duration = Duration::from_secs(600);
/// What comes back within this time is not worth a change.
pub(super) const FAR: Duration = Duration::from_secs(3);
/// No more often does the first of those of low priority look.
const POLL_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// What a limiter looks like to the next message.
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

    /// How long the message would stay here, answer included.
    pub(super) fn hold(self) -> Duration {
        let rounds = self.waiters as f64 / f64::from(self.in_flight.max(1));
        self.latency.mul_f64(rounds).max(self.by_rate()) + self.latency
    }

    /// Why the message should be parked rather than wait for up to `wait_max`.
    /// `waiters_max_when_slow` is how many may wait when the endpoint hardly answers. `None`: let
    /// it wait.
    pub(super) fn park(
        self,
        wait_max: Duration,
        waiters_max_when_slow: usize,
    ) -> Option<&'static str> {
        let by_permits = self.by_permits();
        let by_rate = self.by_rate();
        let expected = by_permits.max(by_rate);
        let too_many = self.waiters >= waiters_max_when_slow && expected >= SLOW_WAIT_MIN
            || self.waiters >= waiters_max_when_slow * 2;
        let cause = if by_rate > by_permits { "rate" } else { "busy" };
        (expected > wait_max || too_many).then_some(cause)
    }
}

/// The distance between messages that are parked, so that they find the endpoint free. `answer`:
/// what a request takes that the endpoint answers; `None`: nothing tells of it, and the rate alone
/// counts.
pub(super) fn interval(rate: u32, in_flight: u32, answer: Option<Duration>) -> Duration {
    let by_rate = Duration::from_secs(1) / rate.max(1);
    answer.map_or(by_rate, |answer| by_rate.max(answer / in_flight.max(1)))
}

/// Whether a delivery of low priority may go: nobody waits, and half of the permits and of the
/// tokens stay free for live traffic, rounded down.
pub(super) fn has_spare_capacity(
    waiters: usize,
    permits_free: usize,
    in_flight: u32,
    tokens: f64,
    burst: u32,
) -> bool {
    waiters == 0 && permits_free > (in_flight / 2) as usize && tokens - 1.0 >= f64::from(burst / 2)
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

/// What an attempt takes, as far as can be told: the average, or more when all permits are taken
/// and nothing has come back for longer (`None`: some are free).
pub(super) fn latency(average: Duration, no_progress_for: Option<Duration>) -> Duration {
    no_progress_for.map_or(average, |silence| average.max(silence))
}

/// Moves the average an eighth of the way to the newest value.
pub(super) fn average(old: Option<Duration>, newest: Duration) -> Duration {
    old.map_or(newest, |old| (old * 7 + newest) / 8)
}

/// Takes the next slot at or after `earliest`, at most [`SLOTS_AHEAD_MAX`] after it.
pub(super) fn reserve(clock: &mut Instant, earliest: Instant, interval: Duration) -> Instant {
    let latest = earliest + SLOTS_AHEAD_MAX;
    if *clock > latest {
        return latest;
    }
    let slot = (*clock).max(earliest);
    *clock = slot + interval;
    slot
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_MAX: Duration = Duration::from_secs(2);
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
                view.park(WAIT_MAX, WAITERS_MAX_WHEN_SLOW),
                expected,
                "{view:?}"
            );
        }
    }

    #[test]
    fn a_hang_is_seen_before_the_first_answer() {
        let average = Duration::from_millis(1);
        let stalled = Duration::from_millis(200);
        assert_eq!(latency(average, None), average);
        let view = LoadEstimate {
            waiters: 100,
            latency: latency(average, Some(stalled)),
            in_flight: 8,
            rate: 10_000,
        };
        assert_eq!(view.park(WAIT_MAX, WAITERS_MAX_WHEN_SLOW), Some("busy"));
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
        // waiters, permits free, in flight, tokens, burst, whether it goes
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
        for (waiters, permits, in_flight, tokens, burst, expected) in table {
            assert_eq!(
                has_spare_capacity(waiters, permits, in_flight, tokens, burst),
                expected,
                "{waiters} {permits} {in_flight} {tokens} {burst}"
            );
        }
    }

    #[test]
    fn low_priority_looks_often_but_not_all_the_time() {
        assert_eq!(poll_interval(Duration::ZERO), POLL_INTERVAL_MIN);
        assert_eq!(poll_interval(Duration::from_secs(9)), SLOW_WAIT_MIN);
    }

    #[test]
    fn slots_follow_each_other_and_are_never_early() {
        let now = Instant::now();
        let mut clock = now;
        let step = Duration::from_millis(20);
        let earliest = now + WAIT_MAX;
        let slots = [(); 3].map(|()| reserve(&mut clock, earliest, step));
        assert_eq!(slots, [earliest, earliest + step, earliest + step * 2]);
        let later = now + WAIT_MAX * 5;
        assert_eq!(reserve(&mut clock, later, step), later);
    }

    #[test]
    fn no_slot_is_further_ahead_than_the_limit() {
        let now = Instant::now();
        let mut clock = now;
        let slots: Vec<_> = (0..1_000)
            .map(|_| reserve(&mut clock, now, Duration::from_secs(1)))
            .collect();
        assert_eq!(slots[600], now + SLOTS_AHEAD_MAX);
        assert_eq!(slots[999], now + SLOTS_AHEAD_MAX);
        let later = now + Duration::from_secs(10);
        assert_eq!(
            reserve(&mut clock, later, Duration::from_secs(1)),
            now + Duration::from_secs(601),
            "the clock did not run on"
        );
    }

    #[test]
    fn parked_messages_come_at_the_slower_of_rate_and_answers() {
        let seconds = Duration::from_secs;
        assert_eq!(interval(50, 8, Some(seconds(8))), seconds(1));
        let by_rate = Duration::from_millis(20);
        assert_eq!(interval(50, 8, Some(Duration::ZERO)), by_rate);
        assert_eq!(interval(50, 8, None), by_rate);
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
