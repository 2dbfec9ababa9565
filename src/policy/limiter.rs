//! How often something may happen.

use std::{
    fmt,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter, clock,
    clock::Clock as _,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed, keyed::DefaultKeyedStateStore},
};

use crate::model::ClientId;

/// Clients remembered before idle ones are forgotten.
const CLIENTS_MAX: usize = 10_000;

/// Where a limiter reads the time. Its owner chooses: tests pass a clock that they move.
#[derive(Debug, Clone, Copy)]
pub struct Clock(fn() -> Instant);

impl Clock {
    /// A clock that asks this function; the time must never go back.
    pub const fn new(now: fn() -> Instant) -> Self {
        Self(now)
    }
}

impl clock::Clock for Clock {
    type Instant = Instant;

    fn now(&self) -> Instant {
        (self.0)()
    }
}

type Middleware = NoOpMiddleware<Instant>;

fn at_least_one(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN)
}

/// Allows a number of calls per second, and a burst after a pause.
///
/// # Examples
///
/// ```
/// use std::time::Instant;
/// use wahook::policy::{Clock, Limiter};
///
/// let limiter = Limiter::new(1, 2, Clock::new(Instant::now));
/// assert!(limiter.check().is_ok());
/// assert!(limiter.check().is_ok());
/// let wait = limiter.check().expect_err("the burst is used up");
/// assert!(wait.as_secs() < 1);
/// ```
pub struct Limiter(RateLimiter<NotKeyed, InMemoryState, Clock, Middleware>);

impl fmt::Debug for Limiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limiter").finish_non_exhaustive()
    }
}

impl Limiter {
    /// A limiter with a full burst. A rate or burst of 0 counts as 1.
    pub fn new(rate_per_second: u32, burst: u32, clock: Clock) -> Self {
        let quota =
            Quota::per_second(at_least_one(rate_per_second)).allow_burst(at_least_one(burst));
        Self(RateLimiter::direct_with_clock(quota, clock))
    }

    /// A limiter whose burst was empty `elapsed` ago and has refilled since then. A node that takes
    /// an endpoint over starts with it, because the node before may have used the burst up.
    pub fn refilled(rate_per_second: u32, burst: u32, elapsed: Duration, clock: Clock) -> Self {
        let limiter = Self::new(rate_per_second, burst, clock);
        let refilled = elapsed.as_secs_f64() * f64::from(rate_per_second.max(1));
        // The conversion saturates and rounds down.
        let missing = burst.max(1).saturating_sub(refilled as u32);
        if let Some(missing) = NonZeroU32::new(missing) {
            let taken = limiter.0.check_n(missing);
            debug_assert!(matches!(taken, Ok(Ok(()))), "no more than the burst");
        }
        limiter
    }

    /// Counts one call if it is allowed now.
    ///
    /// # Errors
    /// The time until the next call is allowed; this one is not counted.
    pub fn check(&self) -> Result<(), Duration> {
        self.0
            .check()
            .map_err(|not_yet| not_yet.wait_time_from(self.0.clock().now()))
    }
}

/// Allows each client a number of calls per minute.
///
/// # Examples
///
/// ```
/// use std::time::Instant;
/// use wahook::{model::ClientId, policy::{Clock, KeyedLimiter}};
///
/// let limiter = KeyedLimiter::new(1, Clock::new(Instant::now));
/// let first = ClientId::try_from(1)?;
/// let second = ClientId::try_from(2)?;
/// assert!(limiter.check(first).is_ok());
/// assert!(limiter.check(first).is_err());
/// assert!(limiter.check(second).is_ok());
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
pub struct KeyedLimiter(RateLimiter<ClientId, DefaultKeyedStateStore<ClientId>, Clock, Middleware>);

impl fmt::Debug for KeyedLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedLimiter")
            .field("clients", &self.0.len())
            .finish()
    }
}

impl KeyedLimiter {
    /// A limiter of `per_minute` calls with a burst of the same size; 0 counts as 1.
    pub fn new(per_minute: u32, clock: Clock) -> Self {
        let quota = Quota::per_minute(at_least_one(per_minute));
        Self(RateLimiter::new(
            quota,
            DefaultKeyedStateStore::default(),
            clock,
        ))
    }

    /// Counts one call of this client if it is allowed now.
    ///
    /// # Errors
    /// The time until its next call is allowed; this one is not counted.
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
    use std::{cell::Cell, sync::LazyLock};

    use super::*;

    static START: LazyLock<Instant> = LazyLock::new(Instant::now);

    thread_local! {
        /// Each test has its thread, and so a clock of its own.
        static ELAPSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
    }

    const CLOCK: Clock = Clock::new(|| *START + ELAPSED.get());

    fn advance(span: Duration) {
        ELAPSED.set(ELAPSED.get() + span);
    }

    fn allowed(limiter: &Limiter) -> usize {
        (0..9).take_while(|_| limiter.check().is_ok()).count()
    }

    #[test]
    fn limiter_allows_the_burst_and_then_the_rate() {
        let limiter = Limiter::new(5, 3, CLOCK);
        assert_eq!(allowed(&limiter), 3);
        assert_eq!(limiter.check(), Err(Duration::from_millis(200)));
        advance(Duration::from_millis(199));
        assert_eq!(limiter.check(), Err(Duration::from_millis(1)));
        advance(Duration::from_millis(1));
        assert_eq!(limiter.check(), Ok(()));
        assert_eq!(limiter.check(), Err(Duration::from_millis(200)));
        advance(Duration::from_secs(3600));
        assert_eq!(allowed(&limiter), 3, "a long pause refills the burst only");
    }

    #[test]
    fn refilled_limiter_allows_what_the_elapsed_time_refilled() {
        let allowed_after = |millis| {
            let limiter = Limiter::refilled(2, 4, Duration::from_millis(millis), CLOCK);
            allowed(&limiter)
        };
        assert_eq!(
            [0, 499, 1000, 1600, 2000, u64::from(u32::MAX)].map(allowed_after),
            [0, 0, 2, 3, 4, 4]
        );
    }

    #[test]
    fn keyed_limiter_counts_each_client_alone() {
        let limiter = KeyedLimiter::new(1, CLOCK);
        let client = |id| ClientId::try_from(id).expect("in range");
        assert_eq!(limiter.check(client(1)), Ok(()));
        assert_eq!(limiter.check(client(1)), Err(Duration::from_secs(60)));
        assert_eq!(limiter.check(client(2)), Ok(()));
        advance(Duration::from_secs(60));
        assert_eq!(limiter.check(client(1)), Ok(()));
    }
}
