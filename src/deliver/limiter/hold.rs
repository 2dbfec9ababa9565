//! How long a message would keep its slot of the pull loop: while it waits for its endpoint, and
//! for the answer.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::sleep;

use super::{EndpointLimiter, Postponed, endpoint::State, now, pacing::LoadEstimate};
use crate::model::Priority;

/// A slot that is kept longer is kept for long. In a burst that fills the node, slots of quick
/// endpoints are kept for a quarter of a second, and a loop gives back thousands in a second:
/// nobody waits for one, and parking would cost more than it frees.
const HOLD_MAX: Duration = Duration::from_millis(500);
/// An endpoint that has never answered is not waited for as long.
const FIRST_SILENCE_MAX: Duration = Duration::from_millis(100);
/// How often a message that waits looks whether its endpoint answers at all.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
/// What is parked to leave room for others does not come back sooner.
const AWAY_MIN: Duration = Duration::from_millis(200);

impl EndpointLimiter {
    /// Whether the next message would keep its slot for long.
    pub(in crate::deliver) fn holds_long(&self) -> bool {
        self.would_hold_long(self.waiters.load(Ordering::Relaxed))
    }

    /// Returns once attempts turn out to take long, or the first answer does not come.
    pub(in crate::deliver) async fn until_it_holds_long(&self) {
        while !self.would_hold_long(0) {
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// A slot for a message that leaves room for other clients. It comes back soon if the endpoint
    /// may answer soon.
    pub(in crate::deliver) fn park_for_others(&self, priority: Priority) -> Postponed {
        let latency = latency(&self.state());
        self.postpone_after("share", away(latency, self.wait_max), priority)
    }

    fn would_hold_long(&self, waiters: usize) -> bool {
        let state = self.state();
        let estimate = LoadEstimate {
            waiters,
            latency: latency(&state),
            in_flight: self.in_flight,
            rate: self.rate,
        };
        let limit = match state.average {
            Some(_) => HOLD_MAX,
            None => FIRST_SILENCE_MAX,
        };
        estimate.hold() >= limit
    }
}

/// What an attempt takes: the average, or more if nothing has come back for longer.
fn latency(state: &State) -> Duration {
    let average = state.average.unwrap_or_default();
    if state.active == 0 {
        return average;
    }
    average.max(now().saturating_duration_since(state.silent_since))
}

/// For how long to park what leaves room for others.
fn away(latency: Duration, wait_max: Duration) -> Duration {
    (latency * 2).max(AWAY_MIN).min(wait_max)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::timeout;

    use super::{super::tests::endpoint, *};
    use crate::deliver::limiter::AttemptResult;

    const NORMAL: Priority = Priority::Normal;

    async fn answer(endpoint: &Arc<EndpointLimiter>, latency: Duration) {
        let permit = endpoint.acquire(NORMAL).await.expect("free");
        endpoint.record_result(permit, latency, AttemptResult::Reached, None);
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_is_waited_for_a_tenth_of_a_second() {
        let endpoint = endpoint(50, 8);
        assert!(!endpoint.holds_long(), "nothing was asked of it");
        let _first = endpoint.acquire(NORMAL).await.expect("free");
        sleep(Duration::from_millis(90)).await;
        assert!(!endpoint.holds_long());
        sleep(Duration::from_millis(20)).await;
        assert!(endpoint.holds_long());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_take_half_a_second_hold_long_until_they_are_quick() {
        let endpoint = endpoint(50, 8);
        for (latency, holds_long) in [(499, false), (600, true), (5, false)] {
            answer(&endpoint, Duration::from_millis(latency)).await;
            assert_eq!(endpoint.holds_long(), holds_long, "after {latency} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silence_holds_long_only_while_something_is_asked() {
        let endpoint = endpoint(50, 8);
        answer(&endpoint, Duration::from_millis(5)).await;
        sleep(Duration::from_secs(60)).await;
        assert!(!endpoint.holds_long(), "nothing was asked of it");
        let _first = endpoint.acquire(NORMAL).await.expect("free");
        sleep(Duration::from_millis(400)).await;
        let _second = endpoint.acquire(NORMAL).await.expect("free");
        assert!(!endpoint.holds_long());
        sleep(Duration::from_millis(100)).await;
        assert!(endpoint.holds_long(), "no answer since the first");
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_wait_already_count() {
        // rate, waiters, whether the next one would stay for long
        for (rate, waiters, holds_long) in [(50, 24, false), (50, 26, true), (1, 0, false)] {
            let endpoint = endpoint(rate, 1);
            answer(&endpoint, Duration::ZERO).await;
            endpoint.waiters.store(waiters, Ordering::Relaxed);
            assert_eq!(endpoint.holds_long(), holds_long, "{waiters} at {rate}/s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_learns_that_its_endpoint_hangs() {
        let endpoint = endpoint(50, 8);
        answer(&endpoint, Duration::from_millis(5)).await;
        let idle = timeout(Duration::from_secs(60), endpoint.until_it_holds_long());
        assert!(idle.await.is_err(), "nothing was asked of it");
        let _hangs = endpoint.acquire(NORMAL).await.expect("free");
        let begun = now();
        endpoint.until_it_holds_long().await;
        let seen_after = now() - begun;
        assert!(seen_after >= HOLD_MAX && seen_after <= HOLD_MAX + LOOK_INTERVAL * 2);
    }

    #[test]
    fn what_is_parked_for_others_comes_back_soon_unless_answers_take_long() {
        // milliseconds: what an answer takes, the longest wait, and how long the message is away
        let table = [
            (0, 2_000, 200),
            (300, 2_000, 600),
            (9_000, 2_000, 2_000),
            (300, 100, 100),
        ];
        for (latency, wait_max, expected) in table {
            let [latency, wait_max, expected] =
                [latency, wait_max, expected].map(Duration::from_millis);
            assert_eq!(away(latency, wait_max), expected, "answers of {latency:?}");
        }
    }
}
