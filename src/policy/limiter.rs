//! How often something may happen, by the generic cell rate algorithm (ITU-T I.371).
//!
//! A limiter is one point in time: when its burst is full again. Each call moves that point by one
//! interval, and is allowed while the point is no further away than the burst takes to refill.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::model::ClientId;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// Keys remembered before idle ones are forgotten.
const KEYS_MAX: usize = 10_000;

/// Allows a number of calls per second, and a burst after a pause.
///
/// # Examples
///
/// ```
/// use std::time::Instant;
/// use wahook::policy::Limiter;
///
/// let now = Instant::now();
/// let mut limiter = Limiter::new(1, 2, now);
/// assert!(limiter.check(now).is_ok());
/// assert!(limiter.check(now).is_ok());
/// let wait = limiter.check(now).expect_err("the burst is used up");
/// assert_eq!(wait.as_secs(), 1);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Limiter {
    interval: Duration,
    /// How long an empty burst takes to refill.
    burst: Duration,
    full_at: Instant,
}

impl Limiter {
    /// A limiter with a full burst. A rate or burst of 0 counts as 1.
    pub fn new(rate_per_second: u32, burst: u32, now: Instant) -> Self {
        Self::every(SECOND / rate_per_second.max(1), burst, now)
    }

    fn every(interval: Duration, burst: u32, now: Instant) -> Self {
        Self {
            interval,
            burst: interval.saturating_mul(burst.max(1)),
            full_at: now,
        }
    }

    /// A limiter whose burst was empty `elapsed` ago and has refilled since then. A node that takes
    /// an endpoint over starts with it, because the node before may have used the burst up.
    pub fn refilled(rate_per_second: u32, burst: u32, elapsed: Duration, now: Instant) -> Self {
        let mut limiter = Self::new(rate_per_second, burst, now);
        limiter.full_at = now + limiter.burst.saturating_sub(elapsed);
        limiter
    }

    /// Counts one call if it is allowed now.
    ///
    /// # Errors
    /// The time until the next call is allowed; this one is not counted.
    pub fn check(&mut self, now: Instant) -> Result<(), Duration> {
        self.check_cost(1, now)
    }

    /// Counts one call as `cost` calls, at most as the whole burst: no call is too large for ever.
    fn check_cost(&mut self, cost: u32, now: Instant) -> Result<(), Duration> {
        let cost = self.interval.saturating_mul(cost).min(self.burst);
        let after = self.full_at.saturating_duration_since(now) + cost;
        if after > self.burst {
            return Err(after - self.burst);
        }
        self.full_at = now + after;
        Ok(())
    }

    /// The calls that are allowed at once, with the fraction that has refilled so far.
    pub fn tokens(&self, now: Instant) -> f64 {
        let missing = self.full_at.saturating_duration_since(now);
        self.burst.saturating_sub(missing).as_secs_f64() / self.interval.as_secs_f64()
    }

    /// Goes on with another rate and burst.
    fn retune(&mut self, interval: Duration, burst: u32, now: Instant) {
        if self.interval != interval {
            self.interval = interval;
            self.burst = interval.saturating_mul(burst.max(1));
            self.full_at = self.full_at.min(now + self.burst);
        }
    }

    fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

/// How many calls are allowed; 0 counts as 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// On average.
    pub per_second: u32,
    /// At once.
    pub burst: u32,
}

impl Rate {
    /// With a burst of twice as many.
    pub const fn per_second(rate: u32) -> Self {
        Self {
            per_second: rate,
            burst: rate.saturating_mul(2),
        }
    }
}

/// Allows each key, for example each client, a number of calls per minute.
///
/// # Examples
///
/// ```
/// use std::time::Instant;
/// use wahook::{model::ClientId, policy::KeyedLimiter};
///
/// let limiter = KeyedLimiter::new(1);
/// let first = ClientId::try_from(1)?;
/// let second = ClientId::try_from(2)?;
/// let now = Instant::now();
/// assert!(limiter.check(first, now).is_ok());
/// assert!(limiter.check(first, now).is_err());
/// assert!(limiter.check(second, now).is_ok());
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
#[derive(Debug)]
pub struct KeyedLimiter<K = ClientId> {
    interval: Duration,
    burst: u32,
    limiters: RateLimiters<K>,
}

impl<K: Eq + Hash> KeyedLimiter<K> {
    /// A limiter of `per_minute` calls with a burst of the same size; 0 counts as 1.
    pub fn new(per_minute: u32) -> Self {
        Self {
            interval: MINUTE / per_minute.max(1),
            burst: per_minute,
            limiters: RateLimiters::default(),
        }
    }

    /// Counts one call of this key if it is allowed now.
    ///
    /// # Errors
    /// The time until its next call is allowed; this one is not counted.
    pub fn check(&self, key: K, now: Instant) -> Result<(), Duration> {
        self.limiters
            .with(key, (self.interval, self.burst), now, |limiter| {
                limiter.check(now)
            })
    }
}

/// Limits each key, for example each client, to a rate of its own, which may change.
#[derive(Debug)]
pub struct RateLimiters<K = ClientId> {
    keys: Mutex<Keys<K>>,
}

#[derive(Debug)]
struct Keys<K> {
    limiters: HashMap<K, Limiter>,
    /// Idle keys are looked for at this number; twice what was left the last time, so that the
    /// cost of a call stays flat.
    sweep_at: usize,
}

impl<K> Default for RateLimiters<K> {
    fn default() -> Self {
        Self {
            keys: Mutex::new(Keys {
                limiters: HashMap::new(),
                sweep_at: KEYS_MAX,
            }),
        }
    }
}

impl<K: Eq + Hash> RateLimiters<K> {
    /// Counts what counts as `cost` calls, at most as a whole burst, if it is allowed now.
    ///
    /// # Errors
    /// The time until it is allowed; this one is not counted.
    pub fn check(&self, key: K, rate: Rate, cost: u32, now: Instant) -> Result<(), Duration> {
        let pace = (SECOND / rate.per_second.max(1), rate.burst);
        self.with(key, pace, now, |limiter| limiter.check_cost(cost, now))
    }

    fn with<T>(
        &self,
        key: K,
        (interval, burst): (Duration, u32),
        now: Instant,
        work: impl FnOnce(&mut Limiter) -> T,
    ) -> T {
        // Nothing here leaves the map half changed.
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        keys.forget_idle(now);
        let every = || Limiter::every(interval, burst, now);
        let limiter = keys.limiters.entry(key).or_insert_with(every);
        limiter.retune(interval, burst, now);
        work(limiter)
    }
}

impl<K: Eq + Hash> Keys<K> {
    fn forget_idle(&mut self, now: Instant) {
        if self.limiters.len() >= self.sweep_at {
            self.limiters.retain(|_, limiter| !limiter.is_full(now));
            self.sweep_at = (self.limiters.len() * 2).max(KEYS_MAX);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(limiter: &mut Limiter, now: Instant) -> usize {
        (0..9).take_while(|_| limiter.check(now).is_ok()).count()
    }

    fn client(id: u64) -> ClientId {
        ClientId::try_from(id).expect("in range")
    }

    #[test]
    fn limiter_allows_the_burst_and_then_the_rate() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut limiter = Limiter::new(5, 3, start);
        assert_eq!(allowed(&mut limiter, start), 3);
        assert_eq!(limiter.check(start), Err(Duration::from_millis(200)));
        assert_eq!(limiter.check(at(199)), Err(Duration::from_millis(1)));
        assert_eq!(limiter.check(at(200)), Ok(()));
        assert_eq!(limiter.check(at(200)), Err(Duration::from_millis(200)));
        assert_eq!(
            allowed(&mut limiter, at(3_600_000)),
            3,
            "a long pause refills the burst only"
        );
    }

    #[test]
    fn refilled_limiter_allows_what_the_elapsed_time_refilled() {
        let now = Instant::now();
        let allowed_after = |millis| {
            let mut limiter = Limiter::refilled(2, 4, Duration::from_millis(millis), now);
            allowed(&mut limiter, now)
        };
        assert_eq!(
            [0, 499, 1000, 1600, 2000, u64::from(u32::MAX)].map(allowed_after),
            [0, 0, 2, 3, 4, 4]
        );
    }

    #[test]
    fn tokens_are_what_may_go_at_once() {
        let now = Instant::now();
        let mut limiter = Limiter::new(5, 10, now);
        assert_eq!(limiter.tokens(now), 10.0);
        for _ in 0..12 {
            let _ = limiter.check(now);
        }
        assert_eq!(limiter.tokens(now), 0.0, "never below nothing");
        assert_eq!(limiter.tokens(now + SECOND), 5.0);
        assert_eq!(limiter.tokens(now + MINUTE), 10.0);
        let refilled = Limiter::refilled(5, 10, SECOND, now);
        assert_eq!(
            refilled.tokens(now),
            5.0,
            "as much as came since another node used it"
        );
    }

    #[test]
    fn keyed_limiter_counts_each_client_alone() {
        let now = Instant::now();
        let limiter = KeyedLimiter::new(1);
        assert_eq!(limiter.check(client(1), now), Ok(()));
        assert_eq!(limiter.check(client(1), now), Err(MINUTE));
        assert_eq!(limiter.check(client(2), now), Ok(()));
        assert_eq!(limiter.check(client(1), now + MINUTE), Ok(()));
    }

    #[test]
    fn rate_of_a_key_changes_at_once_in_both_directions() {
        let now = Instant::now();
        let limiter = RateLimiters::default();
        let allowed = |rate, now| {
            let rate = Rate::per_second(rate);
            let check = |_: &i32| limiter.check(client(1), rate, 1, now).is_ok();
            (0..99).take_while(check).count()
        };
        assert_eq!(allowed(10, now), 20);
        assert_eq!(allowed(1, now), 0, "the burst is used up");
        assert_eq!(
            allowed(1, now + SECOND),
            1,
            "and its debt is no larger than a burst"
        );
        assert_eq!(allowed(10, now + MINUTE), 20);
    }

    #[test]
    fn a_call_may_count_as_several_and_never_as_more_than_a_burst() {
        let now = Instant::now();
        let limiter = RateLimiters::default();
        let check = |rate, cost, now| limiter.check(client(1), Rate::per_second(rate), cost, now);
        assert_eq!(check(10, 15, now), Ok(()));
        assert_eq!(check(10, 15, now), Err(SECOND));
        assert_eq!(
            check(10, 5, now),
            Ok(()),
            "one that is refused is not counted"
        );
        assert_eq!(check(10, 1_000, now + MINUTE), Ok(()));
        assert_eq!(check(10, 1, now + MINUTE), Err(SECOND / 10));
    }

    #[test]
    fn keyed_limiter_forgets_idle_clients_alone() {
        let now = Instant::now();
        let limiter = KeyedLimiter::new(1);
        let most = KEYS_MAX as u64;
        for id in 1..most {
            assert_eq!(limiter.check(client(id), now), Ok(()));
        }
        let later = now + MINUTE;
        assert_eq!(limiter.check(client(most), later), Ok(()));
        assert_eq!(limiter.check(client(most + 1), later), Ok(()));
        assert_eq!(limiter.check(client(most), later), Err(MINUTE));
        let remembered = limiter.limiters.keys.lock().expect("not poisoned");
        assert_eq!(remembered.limiters.len(), 2);
    }
}
