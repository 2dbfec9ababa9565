//! How often something may happen.

use std::{num::NonZeroU32, time::Duration};

use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter, clock::Clock};

use crate::model::ClientId;

/// Clients remembered before idle ones are forgotten.
const CLIENTS_MAX: usize = 10_000;

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

/// So many a second, and as many at once after a pause.
pub struct Limiter(DefaultDirectRateLimiter);

impl Limiter {
    /// A limiter of `rate_per_second` with a burst of the same size; 0 counts as 1.
    pub fn new(rate_per_second: u32) -> Self {
        Self(RateLimiter::direct(Quota::per_second(at_least_one(rate_per_second))))
    }

    /// Takes a turn.
    ///
    /// # Errors
    /// The time until the next turn is free; no turn is taken.
    pub fn check(&self) -> Result<(), Duration> {
        self.0.check().map_err(|not_yet| not_yet.wait_time_from(self.0.clock().now()))
    }
}

/// So many a minute for each client.
pub struct KeyedLimiter(DefaultKeyedRateLimiter<ClientId>);

impl KeyedLimiter {
    /// A limiter of `per_minute` with a burst of the same size; 0 counts as 1.
    pub fn new(per_minute: u32) -> Self {
        Self(RateLimiter::keyed(Quota::per_minute(at_least_one(per_minute))))
    }

    /// Takes a turn of this client.
    ///
    /// # Errors
    /// The time until its next turn is free; no turn is taken.
    pub fn check(&self, client: ClientId) -> Result<(), Duration> {
        if self.0.len() > CLIENTS_MAX {
            self.0.retain_recent();
        }
        self.0.check_key(&client).map_err(|not_yet| not_yet.wait_time_from(self.0.clock().now()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_then_a_wait() {
        let limiter = Limiter::new(5);
        for _ in 0..5 {
            assert_eq!(limiter.check(), Ok(()));
        }
        let wait = limiter.check().expect_err("the burst is used up");
        assert!(wait <= Duration::from_millis(200), "{wait:?}");
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
