//! When a message that cannot go now comes back.

use std::time::{Duration, Instant};

use super::{
    EndpointLimiter,
    endpoint::State,
    now,
    pacing::{self, LoadEstimate},
};
use crate::{model::Priority, policy::OpenCause};

/// Not now: come back at `at`.
#[derive(Debug, Clone, Copy)]
pub(in crate::deliver) struct Postponed {
    pub(in crate::deliver) cause: &'static str,
    pub(in crate::deliver) at: Instant,
}

impl EndpointLimiter {
    /// A slot for a message that cannot go now.
    pub(in crate::deliver) fn park(&self, cause: &'static str, priority: Priority) -> Postponed {
        self.postpone_after(cause, self.wait_max, priority)
    }

    /// A slot for a message that came while the breaker is open for `wait` more.
    pub(super) fn park_until_probe(&self, wait: Duration, priority: Priority) -> Postponed {
        let cause = match self.state().breaker.open_cause() {
            Some(OpenCause::Asked) => "retry_after",
            Some(OpenCause::Failures) | None => "breaker",
        };
        self.postpone_after(cause, wait, priority)
    }

    pub(super) fn postpone_after(
        &self,
        cause: &'static str,
        wait: Duration,
        priority: Priority,
    ) -> Postponed {
        let now = now();
        let mut state = self.state();
        let interval = self.slot_interval(&state);
        state.last_used = now;
        let at = match priority {
            Priority::Normal if state.breaker.is_probing() => {
                pacing::reserve(&mut state.probe_clock, now + wait, interval)
            }
            Priority::Normal => {
                state.backlog.slots_given(interval);
                pacing::reserve(&mut state.slot_clock, now + wait, interval)
            }
            Priority::Low => pacing::reserve(
                &mut state.low_clock,
                now + wait,
                pacing::low_priority_interval(interval),
            ),
        };
        Postponed { cause, at }
    }

    /// How far apart slots are. An endpoint that fails does not say what its answers will take.
    pub(super) fn slot_interval(&self, state: &State) -> Duration {
        let answer = state.answer.filter(|_| state.breaker.is_well());
        pacing::interval(self.rate, self.in_flight, answer)
    }

    pub(super) fn view(&self, waiters: usize) -> LoadEstimate {
        let state = self.state();
        let all_busy = self.permits.available_permits() == 0;
        let latency = pacing::latency(
            state.average.unwrap_or_default(),
            all_busy.then(|| now().saturating_duration_since(state.progress)),
        );
        LoadEstimate {
            waiters,
            latency,
            in_flight: self.in_flight,
            rate: self.rate,
        }
    }
}
