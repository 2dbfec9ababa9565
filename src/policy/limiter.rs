//! How often something may happen.

use std::{num::NonZeroU32, sync::LazyLock, time::Duration};

use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock, DefaultClock},
};

use crate::model::ClientId;

/// Clients remembered before idle ones are forgotten.
const CLIENTS_MAX: usize = 10_000;

/// Each new clock asks the processor what it is, which takes tens of microseconds on a virtual
/// machine.
static CLOCK: LazyLock<DefaultClock> = LazyLock::new(DefaultClock::default);

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

/// So many a second, and a burst after a pause.
pub struct Limiter(DefaultDirectRateLimiter);

impl Limiter {
    /// A limiter of `rate_per_second` with a burst of this size, full from the start; 0 counts as
    /// 1.
    pub fn new(rate_per_second: u32, burst: u32) -> Self {
        let quota =
            Quota::per_second(at_least_one(rate_per_second)).allow_burst(at_least_one(burst));
        Self(RateLimiter::direct_with_clock(quota, CLOCK.clone()))
    }

    /// The same, but with only as much of the burst as `since` refills: what came before may be
    /// used up elsewhere.
    pub fn refilled(rate_per_second: u32, burst: u32, since: Duration) -> Self {
        let limiter = Self::new(rate_per_second, burst);
        let refilled = since.as_secs_f64() * f64::from(rate_per_second.max(1));
        // Saturates, and rounds down.
        let missing = burst.max(1).saturating_sub(refilled as u32);
        if let Some(missing) = NonZeroU32::new(missing) {
            let taken = limiter.0.check_n(missing);
            debug_assert!(matches!(taken, Ok(Ok(()))), "no more than the burst");
        }
        limiter
    }

    /// Takes a turn.
    ///
    /// # Errors
    /// The time until the next turn is free; no turn is taken.
    pub fn check(&self) -> Result<(), Duration> {
        self.0
            .check()
            .map_err(|not_yet| not_yet.wait_time_from(self.0.clock().now()))
    }
}

/// So many a minute for each client.
pub struct KeyedLimiter(DefaultKeyedRateLimiter<ClientId>);

impl KeyedLimiter {
    /// A limiter of `per_minute` with a burst of the same size; 0 counts as 1.
    pub fn new(per_minute: u32) -> Self {
        Self(RateLimiter::keyed(Quota::per_minute(at_least_one(
            per_minute,
        ))))
    }

    /// Takes a turn of this client.
    ///
    /// # Errors
    /// The time until its next turn is free; no turn is taken.
    pub fn check(&self, client: ClientId) -> Result<(), Duration> {
        if self.0.len() > CLIENTS_MAX {
            self.0.retain_recent();
        }
        self.0
            .check_key(&client)
            .map_err(|not_yet| not_yet.wait_time_from(self.0.clock().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_wait() {
        let limiter = Limiter::new(5, 3);
        for _ in 0..3 {
            assert_eq!(limiter.check(), Ok(()));
        }
        let wait = limiter.check().expect_err("the burst is used up");
        assert!(wait <= Duration::from_millis(200), "{wait:?}");
    }

    #[test]
    fn only_what_was_refilled_is_there() {
        let free = |since| {
            let limiter = Limiter::refilled(2, 4, Duration::from_millis(since));
            (0..9).take_while(|_| limiter.check().is_ok()).count()
        };
        assert_eq!(
            [0, 499, 1000, 1600, 2000, u64::from(u32::MAX)].map(free),
            [0, 0, 2, 3, 4, 4]
        );
    }

    #[test]
    fn clients_do_not_share_turns() {
        let limiter = KeyedLimiter::new(1);
        let client = |id| ClientId::try_from(id).expect("in range");
        assert_eq!(limiter.check(client(1)), Ok(()));
        assert!(limiter.check(client(1)).is_err());
        assert_eq!(limiter.check(client(2)), Ok(()));
    }
}
