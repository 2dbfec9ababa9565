//! Spreads events evenly over time.

use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior, interval};

/// The most chunks per second. More, smaller chunks need more timers; fewer, larger ones would not
/// find permits at the endpoint.
const CHUNKS_PER_SECOND_MAX: u32 = 50;

/// How many go out at once.
fn chunk(rate: u32) -> usize {
    (rate / CHUNKS_PER_SECOND_MAX).max(1) as usize
}

fn gap(rate: u32) -> Duration {
    Duration::from_secs_f64(chunk(rate) as f64 / f64::from(rate.max(1)))
}

/// Lets chunks through. Time that was missed is not made up for.
pub(super) struct Pacer {
    rate: u32,
    ticks: Interval,
}

impl Pacer {
    pub(super) fn new(rate: u32) -> Self {
        let rate = rate.max(1);
        let mut ticks = interval(gap(rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { rate, ticks }
    }

    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// From now on at this rate.
    pub(super) fn set(&mut self, rate: u32) {
        if rate.max(1) != self.rate {
            *self = Self::new(rate);
        }
    }

    /// Waits, then returns how many may go.
    pub(super) async fn next(&mut self) -> usize {
        self.ticks.tick().await;
        chunk(self.rate)
    }
}

/// A replay's rate for one webhook: at most half of what that takes, the other half is for live
/// traffic.
pub(super) fn replay_rate(asked: u32, webhook: u32) -> u32 {
    asked.min(webhook / 2).max(1)
}

/// Events per page: a second's work, so that an event is not outdated when it is sent.
pub(super) fn page(rate: u32) -> usize {
    rate.clamp(10, 256) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_and_gaps_give_the_rate() {
        // rate, chunk, gap in ms
        for (rate, expected, ms) in [
            (0, 1, 1000),
            (1, 1, 1000),
            (20, 1, 50),
            (99, 1, 10),
            (100, 2, 20),
            (1000, 20, 20),
        ] {
            assert_eq!(
                (chunk(rate), gap(rate).as_millis()),
                (expected, ms),
                "{rate}"
            );
        }
    }

    #[test]
    fn a_webhook_keeps_half_of_its_rate() {
        // asked, the webhook's, what comes of it
        for (asked, webhook, expected) in [
            (20, 50, 20),
            (100, 50, 25),
            (1000, 10_000, 1000),
            (5, 1, 1),
            (1, 1, 1),
        ] {
            assert_eq!(replay_rate(asked, webhook), expected, "{asked} {webhook}");
        }
        assert_eq!([1, 20, 1000].map(page), [10, 20, 256]);
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_was_missed_is_not_made_up_for() {
        let mut pacer = Pacer::new(100);
        pacer.next().await;
        tokio::time::advance(Duration::from_secs(10)).await;
        let before = tokio::time::Instant::now();
        for _ in 0..51 {
            pacer.next().await;
        }
        assert!(
            before.elapsed() >= Duration::from_millis(980),
            "{:?}",
            before.elapsed()
        );
    }
}
