//! From an outcome to what is done next.

use std::time::{Duration, SystemTime};

use crate::model::{Outcome, Timestamp, Verdict};

/// The longest wait that a receiver may ask for.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// When retries happen: `base`, doubled each time, at most `max`, give or take the share `jitter`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Backoff {
    /// Before the first retry.
    pub base: Duration,
    /// 0.1 is ten percent to either side.
    pub jitter: f64,
    /// The longest wait that the schedule itself asks for.
    pub max: Duration,
}

impl Backoff {
    /// The wait after so many tries; `chance` from 0 to 1 picks the place within the jitter.
    fn wait(&self, tries: u16, chance: f64) -> Duration {
        let doublings = u32::from(tries.saturating_sub(1)).min(31);
        self.jittered(
            self.base.saturating_mul(1 << doublings).min(self.max),
            chance,
        )
    }

    fn jittered(&self, wait: Duration, chance: f64) -> Duration {
        wait.mul_f64(1.0 + self.jitter * (2.0 * chance.clamp(0.0, 1.0) - 1.0))
    }
}

/// When a webhook's retries happen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum RetryPolicy<'a> {
    /// So many, at doubling waits.
    Doubling(u16, &'a Backoff),
    /// After these waits, in seconds, give or take the schedule's jitter.
    Listed(&'a [u32], &'a Backoff),
}

impl RetryPolicy<'_> {
    /// What an answer may ask for at most.
    fn longest(&self) -> Duration {
        match self {
            Self::Doubling(_, schedule) | Self::Listed(_, schedule) => schedule.max,
        }
    }

    /// The wait after so many tries; `None` when they are used up.
    fn wait(&self, tries: u16, chance: f64) -> Option<Duration> {
        match self {
            Self::Doubling(max_retries, schedule) => {
                (tries <= *max_retries).then(|| schedule.wait(tries, chance))
            }
            Self::Listed(waits, schedule) => {
                let seconds = waits.get(usize::from(tries.checked_sub(1)?))?;
                Some(schedule.jittered(Duration::from_secs(u64::from(*seconds)), chance))
            }
        }
    }
}

/// What an HTTP status means.
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

/// What follows an attempt. `tries` counts the attempts of this round, this one included.
pub fn verdict(
    outcome: Outcome,
    tries: u16,
    plan: &RetryPolicy<'_>,
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
            let Some(wait) = plan.wait(tries, chance) else {
                return Verdict::Failed { disable: false };
            };
            let asked = retry_after
                .unwrap_or_default()
                .min(RETRY_AFTER_MAX)
                .min(plan.longest());
            Verdict::Retry {
                at: now.after(wait.max(asked)),
            }
        }
    }
}

/// `Retry-After` as RFC 9110 has it: seconds, or an HTTP date. Anything else is as good as none.
pub fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number holds is "very long", not "none".
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)).min(RETRY_AFTER_MAX));
    }
    let at: SystemTime = httpdate::parse_http_date(text).ok()?;
    Some(Timestamp::from_system(at).since(now).min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::EPOCH;
    const SCHEDULE: Backoff = Backoff {
        base: Duration::from_secs(5),
        jitter: 0.1,
        max: Duration::from_secs(86_400),
    };

    fn after(status: u16, tries: u16) -> Verdict {
        verdict(
            outcome_of_status(status),
            tries,
            &RetryPolicy::Doubling(3, &SCHEDULE),
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
    fn each_status_has_its_verdict() {
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
    fn waits_double_and_end() {
        assert_eq!(
            [1, 2, 3].map(|tries| after(500, tries)),
            [5, 10, 20].map(in_seconds)
        );
        assert_eq!(after(500, 4), Verdict::Failed { disable: false });
    }

    #[test]
    fn listed_waits_are_taken_in_turn_and_end() {
        let plan = RetryPolicy::Listed(&[1, 60, 604_800], &SCHEDULE);
        let after = |tries| verdict(Outcome::Timeout, tries, &plan, None, NOW, 0.5);
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
                &RetryPolicy::Doubling(3, &SCHEDULE),
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

    #[test]
    fn retry_after_is_read_in_both_forms() {
        let now: Timestamp = "2026-11-24T08:00:00Z".parse().expect("valid");
        let read = |text| parse_retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(read("120"), Some(120));
        assert_eq!(read(" 0 "), Some(0));
        assert_eq!(read("99999999999999999999999"), Some(86_400));
        assert_eq!(read("Tue, 24 Nov 2026 08:01:00 GMT"), Some(60));
        assert_eq!(read("Tue, 24 Nov 2020 08:01:00 GMT"), Some(0));
        for nonsense in ["", "-1", "soon", "1.5", "１"] {
            assert_eq!(read(nonsense), None, "{nonsense:?}");
        }
    }

    proptest! {
        #[test]
        fn jitter_stays_within_its_share(tries in 1_u16..40, chance in 0.0..1.0) {
            let exact = SCHEDULE.wait(tries, 0.5).as_secs_f64();
            let wait = SCHEDULE.wait(tries, chance).as_secs_f64();
            prop_assert!(wait >= exact * 0.899 && wait <= exact * 1.101);
        }

        #[test]
        fn attempts_never_exceed_the_schedule(max_retries in 0_u16..=20, status: u16) {
            let plan = RetryPolicy::Doubling(max_retries, &SCHEDULE);
            let last = verdict(outcome_of_status(status), max_retries + 1, &plan, None, NOW, 0.5);
            let retried = matches!(last, Verdict::Retry { .. });
            prop_assert!(!retried);
        }
    }
}
