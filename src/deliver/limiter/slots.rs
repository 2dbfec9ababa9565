//! When a message that cannot go now comes back.

use std::time::{Duration, Instant};

use super::{
    EndpointLimiter, now,
    pacing::{self, LoadEstimate},
};
use crate::model::Priority;

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

    pub(super) fn postpone_after(
        &self,
        cause: &'static str,
        wait: Duration,
        priority: Priority,
    ) -> Postponed {
        let now = now();
        let interval = self.view(0).interval();
        let mut state = self.state();
        state.last_used = now;
        let at = match priority {
            Priority::Normal => pacing::reserve(&mut state.slot_clock, now + wait, interval),
            Priority::Low => pacing::reserve(
                &mut state.low_clock,
                now + wait,
                pacing::low_priority_interval(interval),
            ),
        };
        Postponed { cause, at }
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
