//! A circuit breaker for one endpoint.
//!
//! It is closed until `failures_max` attempts in a row fail. Then it is open for `open_for`:
//! nothing is sent, and nothing counts as an attempt. Then it is half open: one probe is sent, and
//! its outcome closes the breaker or opens it again.
//!
//! An endpoint may also ask for a pause (`Retry-After`). The breaker is open until then, however
//! many attempts that began before still succeed.

use std::time::{Duration, Instant};

/// Whether an attempt may start now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// It may: the breaker is closed.
    Go,
    /// It may, as the one probe of a half-open breaker.
    Probe,
    /// It may not, for this time.
    Wait(Duration),
}

/// Why a breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenCause {
    /// Too many attempts failed.
    Failures,
    /// The endpoint asked for a pause.
    Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        cause: OpenCause,
    },
    /// A probe is in flight. If it never ends, another may start at `until`.
    HalfOpen {
        until: Instant,
        cause: OpenCause,
    },
}

/// A circuit breaker for one endpoint.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
/// use wahook::policy::{Admit, Breaker};
///
/// let open_for = Duration::from_secs(30);
/// let now = Instant::now();
/// let mut breaker = Breaker::new(1, open_for);
/// assert_eq!(breaker.admit(now), Admit::Go);
/// assert!(breaker.failure(now));
/// assert_eq!(breaker.admit(now), Admit::Wait(open_for));
/// assert_eq!(breaker.admit(now + open_for), Admit::Probe);
/// breaker.success();
/// assert_eq!(breaker.admit(now + open_for), Admit::Go);
/// ```
#[derive(Debug, Clone)]
pub struct Breaker {
    failures_max: u32,
    open_for: Duration,
    state: State,
}

impl Breaker {
    /// A breaker that opens after `failures_max` failures in a row.
    pub fn new(failures_max: u32, open_for: Duration) -> Self {
        Self {
            failures_max: failures_max.max(1),
            open_for,
            state: State::Closed { failures: 0 },
        }
    }

    /// Whether an attempt may start now. A half-open breaker admits one probe.
    pub fn admit(&mut self, now: Instant) -> Admit {
        match self.state {
            State::Closed { .. } => Admit::Go,
            State::Open { until, .. } | State::HalfOpen { until, .. } if now < until => {
                Admit::Wait(until - now)
            }
            State::Open { cause, .. } | State::HalfOpen { cause, .. } => {
                self.state = State::HalfOpen {
                    until: now + self.open_for,
                    cause,
                };
                Admit::Probe
            }
        }
    }

    /// How long nothing may be sent. Unlike [`Self::admit`], this does not start the probe.
    pub fn time_until_probe(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until, .. } | State::HalfOpen { until, .. } if now < until => {
                Some(until - now)
            }
            _ => None,
        }
    }

    /// Why it is not closed; `None`: it is closed.
    pub fn open_cause(&self) -> Option<OpenCause> {
        match self.state {
            State::Closed { .. } => None,
            State::Open { cause, .. } | State::HalfOpen { cause, .. } => Some(cause),
        }
    }

    /// Whether a probe is in flight.
    pub fn is_probing(&self) -> bool {
        matches!(self.state, State::HalfOpen { .. })
    }

    /// Whether the last attempt reached the endpoint.
    pub fn is_well(&self) -> bool {
        self.state == State::Closed { failures: 0 }
    }

    /// The probe was not sent, so another may start at once.
    pub fn cancel_probe(&mut self, now: Instant) {
        if let State::HalfOpen { cause, .. } = self.state {
            self.state = State::Open { until: now, cause };
        }
    }

    /// An attempt reached the endpoint.
    pub fn success(&mut self) {
        let asked = OpenCause::Asked;
        // This attempt started before the endpoint asked for a pause.
        if !matches!(self.state, State::Open { cause, .. } if cause == asked) {
            self.state = State::Closed { failures: 0 };
        }
    }

    /// The endpoint asked for no requests before `until`. The later of two such times counts.
    /// Returns whether that opened the breaker.
    pub fn pause(&mut self, until: Instant) -> bool {
        let before = self.state;
        let until = match before {
            State::Open { until: earlier, .. } => until.max(earlier),
            State::Closed { .. } | State::HalfOpen { .. } => until,
        };
        let cause = OpenCause::Asked;
        self.state = State::Open { until, cause };
        !matches!(before, State::Open { .. })
    }

    /// An attempt failed. Returns whether that opened the breaker.
    pub fn failure(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed { failures } if failures + 1 < self.failures_max => {
                self.state = State::Closed {
                    failures: failures + 1,
                };
                false
            }
            // This attempt started before the breaker opened.
            State::Open { .. } => false,
            State::Closed { .. } | State::HalfOpen { .. } => {
                self.state = State::Open {
                    until: now + self.open_for,
                    cause: OpenCause::Failures,
                };
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_FOR: Duration = Duration::from_secs(30);

    fn open(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(3, OPEN_FOR);
        assert_eq!([(); 3].map(|()| breaker.failure(now)), [false, false, true]);
        breaker
    }

    #[test]
    fn breaker_stays_closed_when_a_success_comes_between_failures() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, OPEN_FOR);
        for _ in 0..10 {
            breaker.failure(now);
            breaker.failure(now);
            breaker.success();
        }
        assert_eq!(breaker.admit(now), Admit::Go);
    }

    #[test]
    fn open_breaker_admits_one_probe_after_its_time() {
        let now = Instant::now();
        let mut breaker = open(now);
        assert_eq!(breaker.admit(now), Admit::Wait(OPEN_FOR));
        let later = now + OPEN_FOR;
        assert_eq!(breaker.admit(later), Admit::Probe);
        assert!(
            matches!(breaker.admit(later), Admit::Wait(_)),
            "one probe only"
        );
        breaker.success();
        assert_eq!(breaker.admit(later), Admit::Go);
    }

    #[test]
    fn cancelled_probe_lets_another_start_at_once() {
        let now = Instant::now();
        let mut breaker = open(now);
        let later = now + OPEN_FOR;
        assert_eq!(breaker.admit(later), Admit::Probe);
        breaker.cancel_probe(later);
        assert_eq!(breaker.admit(later), Admit::Probe);
        breaker.success();
        breaker.cancel_probe(later);
        assert_eq!(
            breaker.admit(later),
            Admit::Go,
            "a closed breaker stays closed"
        );
    }

    #[test]
    fn pause_lasts_as_long_as_asked_and_ends_with_one_probe() {
        let now = Instant::now();
        let second = Duration::from_secs(1);
        let mut breaker = Breaker::new(3, OPEN_FOR);
        assert!(breaker.pause(now + second * 5));
        assert!(!breaker.pause(now + second * 2), "it was open already");
        assert_eq!(breaker.open_cause(), Some(OpenCause::Asked));
        breaker.success();
        assert_eq!(breaker.admit(now), Admit::Wait(second * 5));
        assert!(!breaker.failure(now));
        let later = now + second * 5;
        assert_eq!(breaker.admit(later), Admit::Probe);
        assert_eq!(breaker.admit(later), Admit::Wait(OPEN_FOR));
        assert!(breaker.pause(later + second), "the probe was refused, too");
        assert_eq!(breaker.admit(later + second), Admit::Probe);
        breaker.success();
        assert_eq!(breaker.open_cause(), None);
        assert!(breaker.is_well());
    }

    #[test]
    fn probe_that_is_not_made_does_not_end_a_pause_early() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, OPEN_FOR);
        breaker.pause(now);
        assert_eq!(breaker.admit(now), Admit::Probe);
        breaker.cancel_probe(now);
        assert_eq!(breaker.open_cause(), Some(OpenCause::Asked));
    }

    #[test]
    fn one_failure_is_not_well_and_not_open() {
        let now = Instant::now();
        let mut breaker = Breaker::new(3, OPEN_FOR);
        breaker.failure(now);
        assert!(!breaker.is_well());
        assert_eq!(breaker.open_cause(), None);
    }

    #[test]
    fn failed_probe_opens_it_again_and_a_lost_probe_expires() {
        let now = Instant::now();
        let mut breaker = open(now);
        assert_eq!(breaker.admit(now + OPEN_FOR), Admit::Probe);
        assert!(breaker.failure(now + OPEN_FOR));
        assert_eq!(breaker.admit(now + OPEN_FOR), Admit::Wait(OPEN_FOR));
        assert_eq!(breaker.admit(now + OPEN_FOR * 2), Admit::Probe);
        assert_eq!(breaker.admit(now + OPEN_FOR * 3), Admit::Probe);
    }
}
