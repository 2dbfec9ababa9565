//! A circuit breaker for one endpoint.
//!
//! It is closed until `failures_max` attempts in a row fail. Then it is open for `open_for`:
//! nothing is sent, and nothing counts as an attempt. Then it is half open: one probe is sent, and
//! its outcome closes the breaker or opens it again.

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

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
    },
    /// A probe is in flight. If it never ends, another may start at `until`.
    HalfOpen {
        until: Instant,
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
            State::Open { until } | State::HalfOpen { until } if now < until => {
                Admit::Wait(until - now)
            }
            State::Open { .. } | State::HalfOpen { .. } => {
                self.state = State::HalfOpen {
                    until: now + self.open_for,
                };
                Admit::Probe
            }
        }
    }

    /// How long nothing may be sent. Unlike [`Self::admit`], this does not start the probe.
    pub fn time_until_probe(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until } | State::HalfOpen { until } if now < until => Some(until - now),
            _ => None,
        }
    }

    /// The probe was not sent, so another may start at once.
    pub fn cancel_probe(&mut self, now: Instant) {
        if matches!(self.state, State::HalfOpen { .. }) {
            self.state = State::Open { until: now };
        }
    }

    /// An attempt reached the endpoint.
    pub fn success(&mut self) {
        self.state = State::Closed { failures: 0 };
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
