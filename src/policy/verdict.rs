//! What follows an attempt.

use std::time::Duration;

use super::retry_after::RETRY_AFTER_MAX;
use crate::model::{Outcome, Timestamp, Verdict};

/// Exponential backoff: waits that double from `base` up to `max`, each with random jitter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// The wait before the first retry.
    pub base: Duration,
    /// The share of a wait that is random: 0.1 means ten percent more or less.
    pub jitter: f64,
    /// The longest wait.
    pub max: Duration,
}

impl Backoff {
    /// The wait after this number of attempts. `chance`, a random number from 0 to 1, picks the
    /// jitter.
    fn wait(&self, attempts: u16, chance: f64) -> Duration {
        let doublings = u32::from(attempts.saturating_sub(1)).min(31);
        self.jittered(
            self.base.saturating_mul(1 << doublings).min(self.max),
            chance,
        )
    }

    fn jittered(&self, wait: Duration, chance: f64) -> Duration {
        wait.mul_f64(1.0 + self.jitter * (2.0 * chance.clamp(0.0, 1.0) - 1.0))
    }
}

/// When and how often a webhook's deliveries are retried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RetryPolicy<'a> {
    /// At most this number of retries, with doubling waits.
    Doubling(u16, &'a Backoff),
    /// One retry after each of these waits, in seconds, with jitter.
    Listed(&'a [u32], &'a Backoff),
}

impl RetryPolicy<'_> {
    /// The longest wait that `Retry-After` may cause.
    fn longest(&self) -> Duration {
        match self {
            Self::Doubling(_, backoff) | Self::Listed(_, backoff) => backoff.max,
        }
    }

    /// The wait after this number of attempts; `None` when no retry is left.
    fn wait(&self, attempts: u16, chance: f64) -> Option<Duration> {
        match self {
            Self::Doubling(max_retries, backoff) => {
                (attempts <= *max_retries).then(|| backoff.wait(attempts, chance))
            }
            Self::Listed(waits, backoff) => {
                let seconds = waits.get(usize::from(attempts.checked_sub(1)?))?;
                Some(backoff.jittered(Duration::from_secs(u64::from(*seconds)), chance))
            }
        }
    }
}

/// The outcome of an attempt that got this HTTP status.
///
/// # Examples
///
/// ```
/// use wahook::{model::Outcome, policy::outcome_of_status};
///
/// assert_eq!(outcome_of_status(204), Outcome::Ok);
/// assert_eq!(outcome_of_status(503), Outcome::Http5xx);
/// ```
pub fn outcome_of_status(status: u16) -> Outcome {
    match status {
        200..=299 => Outcome::Ok,
        300..=399 => Outcome::Http3xx,
        408 | 425 => Outcome::TryAgain,
        410 => Outcome::Gone,
        429 => Outcome::RateLimited,
        400..=499 => Outcome::Http4xx,
        500..=599 => Outcome::Http5xx,
        _ => Outcome::Protocol,
    }
}

/// What follows an attempt. `attempts` is the number of attempts of this round, including this one.
/// `retry_after` is what the receiver requested. `chance`, a random number from 0 to 1, picks the
/// jitter.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wahook::{
///     model::{Outcome, Timestamp, Verdict},
///     policy::{Backoff, RetryPolicy, verdict},
/// };
///
/// let backoff = Backoff {
///     base: Duration::from_secs(5),
///     jitter: 0.1,
///     max: Duration::from_secs(3600),
/// };
/// let policy = RetryPolicy::Doubling(1, &backoff);
/// let after = |attempts| {
///     verdict(Outcome::Timeout, attempts, &policy, None, Timestamp::EPOCH, 0.5)
/// };
/// assert_eq!(after(1), Verdict::Retry { at: Timestamp::from_millis(5_000) });
/// assert_eq!(after(2), Verdict::Failed { disable: false });
/// ```
pub fn verdict(
    outcome: Outcome,
    attempts: u16,
    policy: &RetryPolicy<'_>,
    retry_after: Option<Duration>,
    now: Timestamp,
    chance: f64,
) -> Verdict {
    match outcome {
        Outcome::Ok => Verdict::Delivered,
        Outcome::Gone => Verdict::Failed { disable: true },
        Outcome::Http3xx
        | Outcome::Http4xx
        | Outcome::Blocked
        | Outcome::Held
        | Outcome::WebhookGone
        | Outcome::Abandoned => Verdict::Failed { disable: false },
        Outcome::RateLimited
        | Outcome::TryAgain
        | Outcome::Http5xx
        | Outcome::Timeout
        | Outcome::Connect
        | Outcome::Dns
        | Outcome::Tls
        | Outcome::Reset
        | Outcome::Protocol => {
            let Some(wait) = policy.wait(attempts, chance) else {
                return Verdict::Failed { disable: false };
            };
            let asked = retry_after
                .unwrap_or_default()
                .min(RETRY_AFTER_MAX)
                .min(policy.longest());
            Verdict::Retry {
                at: now.after(wait.max(asked)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::EPOCH;
    const BACKOFF: Backoff = Backoff {
        base: Duration::from_secs(5),
        jitter: 0.1,
        max: Duration::from_secs(86_400),
    };

    fn after(status: u16, attempts: u16) -> Verdict {
        verdict(
            outcome_of_status(status),
            attempts,
            &RetryPolicy::Doubling(3, &BACKOFF),
            None,
            NOW,
            0.5,
        )
    }

    fn in_seconds(seconds: u64) -> Verdict {
        Verdict::Retry {
            at: NOW.after(Duration::from_secs(seconds)),
        }
    }

    #[test]
    fn verdict_depends_on_the_status() {
        for status in [200, 201, 204, 299] {
            assert_eq!(after(status, 1), Verdict::Delivered, "{status}");
        }
        for status in [301, 307, 400, 401, 404, 413, 422] {
            assert_eq!(
                after(status, 1),
                Verdict::Failed { disable: false },
                "{status}"
            );
        }
        for status in [408, 425, 429, 500, 502, 503, 504, 599, 600, 999] {
            assert_eq!(after(status, 1), in_seconds(5), "{status}");
        }
        assert_eq!(after(410, 1), Verdict::Failed { disable: true });
    }

    #[test]
    fn doubling_waits_end_after_the_last_retry() {
        assert_eq!(
            [1, 2, 3].map(|attempts| after(500, attempts)),
            [5, 10, 20].map(in_seconds)
        );
        assert_eq!(after(500, 4), Verdict::Failed { disable: false });
    }

    #[test]
    fn listed_waits_are_used_in_order_and_end() {
        let policy = RetryPolicy::Listed(&[1, 60, 604_800], &BACKOFF);
        let after = |attempts| verdict(Outcome::Timeout, attempts, &policy, None, NOW, 0.5);
        assert_eq!([1, 2, 3].map(after), [1, 60, 604_800].map(in_seconds));
        assert_eq!(after(4), Verdict::Failed { disable: false });
    }

    #[test]
    fn retry_after_raises_but_never_lowers_the_wait() {
        let with = |seconds| {
            let asked = Some(Duration::from_secs(seconds));
            verdict(
                Outcome::RateLimited,
                1,
                &RetryPolicy::Doubling(3, &BACKOFF),
                asked,
                NOW,
                0.5,
            )
        };
        assert_eq!(
            (with(1), with(60), with(u64::MAX)),
            (in_seconds(5), in_seconds(60), in_seconds(86_400))
        );
    }

    proptest! {
        #[test]
        fn jitter_stays_within_its_share(attempts in 1_u16..40, chance in 0.0..1.0) {
            let exact = BACKOFF.wait(attempts, 0.5).as_secs_f64();
            let wait = BACKOFF.wait(attempts, chance).as_secs_f64();
            prop_assert!(wait >= exact * 0.899 && wait <= exact * 1.101);
        }

        #[test]
        fn no_attempt_follows_the_last_retry(max_retries in 0_u16..=20, status: u16) {
            let policy = RetryPolicy::Doubling(max_retries, &BACKOFF);
            let outcome = outcome_of_status(status);
            let last = verdict(outcome, max_retries + 1, &policy, None, NOW, 0.5);
            let retried = matches!(last, Verdict::Retry { .. });
            prop_assert!(!retried);
        }
    }
}
