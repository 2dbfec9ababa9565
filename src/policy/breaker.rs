//! A circuit breaker for one endpoint.
//!
//! Closed until `failures` attempts in a row fail; then open for `open_for`, in which nothing is
//! sent and nothing counts as an attempt; then half open: one probe goes, and its outcome closes or
//! opens it again.

use std::time::{Duration, Instant};

/// Whether an attempt may be made now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admit {
    /// As always.
    Go,
    /// As the one probe of a half-open breaker.
    Probe,
    /// Not for so long.
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
    /// A probe is under way; should it never come back, another may go at `until`.
    HalfOpen {
        until: Instant,
    },
}

/// The breaker. Time comes in as an argument.
#[derive(Debug, Clone)]
pub struct Breaker {
    failures_max: u32,
    open_for: Duration,
    state: State,
}

impl Breaker {
    /// Opens after so many failures in a row, for so long.
    pub fn new(failures_max: u32, open_for: Duration) -> Self {
        Self {
            failures_max: failures_max.max(1),
            open_for,
            state: State::Closed { failures: 0 },
        }
    }

    /// Whether an attempt may be made now.
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

    /// How long nothing may be sent, without asking for the probe.
    pub fn time_until_probe(&self, now: Instant) -> Option<Duration> {
        match self.state {
            State::Open { until } | State::HalfOpen { until } if now < until => Some(until - now),
            _ => None,
        }
    }

    /// The probe was not made after all: another may go at once.
    pub fn cancel_probe(&mut self, now: Instant) {
        if matches!(self.state, State::HalfOpen { .. }) {
            self.state = State::Open { until: now };
        }
    }

    /// An attempt reached the endpoint.
    pub fn success(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// An attempt failed; whether that opened the breaker.
    pub fn failure(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed { failures } if failures + 1 < self.failures_max => {
                self.state = State::Closed {
                    failures: failures + 1,
                };
                false
            }
            // What was sent before it opened fails late; that is no news.
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
    fn a_success_forgets_earlier_failures() {
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
    fn open_waits_then_sends_one_probe() {
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
    fn a_probe_that_was_not_made_leaves_it_to_another() {
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
            "what was noted meanwhile stays"
        );
    }

    #[test]
    fn a_failed_probe_opens_it_again_and_a_lost_one_does_not_block_for_ever() {
        let now = Instant::now();
        let mut breaker = open(now);
        assert_eq!(breaker.admit(now + OPEN_FOR), Admit::Probe);
        assert!(breaker.failure(now + OPEN_FOR));
        assert_eq!(breaker.admit(now + OPEN_FOR), Admit::Wait(OPEN_FOR));
        assert_eq!(breaker.admit(now + OPEN_FOR * 2), Admit::Probe);
        assert_eq!(breaker.admit(now + OPEN_FOR * 3), Admit::Probe);
    }
}
