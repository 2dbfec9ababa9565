//! The state of one webhook's endpoint.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::{
    now, pacing,
    permit::{Kind, SendPermit},
};
use crate::{
    config,
    egress::{self, Target},
    model::{Timestamp, Webhook, webhook_limits::BURST_SECONDS_MAX},
    policy::{Breaker, Limiter},
    tasks::{TaskKind, Tasks},
    telemetry,
};

/// A burst is full again after so long; the API refuses larger ones.
const REFILL_MAX: Duration = Duration::from_secs(BURST_SECONDS_MAX as u64);

/// What an attempt says of its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum AttemptResult {
    /// It works, whatever it thinks of this message.
    Reached,
    /// It does not.
    Failed,
}

pub(super) struct State {
    pub(super) breaker: Breaker,
    pub(super) limiter: Limiter,
    pub(super) average: Option<Duration>,
    /// When a permit was last taken, or an attempt began or ended.
    pub(super) progress: Instant,
    pub(super) slot_clock: Instant,
    /// Of those of low priority: they push nobody else's slots back.
    pub(super) low_clock: Instant,
    pub(super) last_used: Instant,
}

/// Rate, permits and breaker of one webhook.
pub(in crate::deliver) struct EndpointLimiter {
    url: String,
    target: OnceLock<Target>,
    updated_at: Timestamp,
    pub(super) rate: u32,
    pub(super) burst: u32,
    pub(super) in_flight: u32,
    /// How long a message waits here before it is parked.
    pub(super) wait_max: Duration,
    /// Waiters that a loop bears when the endpoint hardly answers.
    pub(super) waiters_max_when_slow: usize,
    pub(super) keep: Duration,
    pub(super) permits: Arc<Semaphore>,
    pub(super) waiters: AtomicUsize,
    /// Those of low priority that wait, and which of them looks.
    pub(super) low_priority_waiters: AtomicUsize,
    pub(super) low_polling: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

impl EndpointLimiter {
    /// `refilled_for`: how long its burst has been filling; `None`: for long enough.
    pub(in crate::deliver) fn new(
        webhook: &Webhook,
        settings: &config::Deliver,
        waiters_max_when_slow: usize,
        now: Instant,
        refilled_for: Option<Duration>,
    ) -> Self {
        let in_flight = webhook.in_flight.max(1);
        let breaker = Breaker::new(settings.breaker_failures, settings.breaker_open);
        let rate = webhook.rate_per_second;
        let burst = webhook.burst();
        let limiter = match refilled_for {
            None => Limiter::new(rate, burst, now),
            Some(time) => Limiter::refilled(rate, burst, time, now),
        };
        Self {
            url: webhook.url.clone(),
            target: OnceLock::new(),
            updated_at: webhook.updated_at,
            rate,
            burst,
            in_flight: webhook.in_flight,
            wait_max: settings.lane_wait,
            waiters_max_when_slow,
            keep: (settings.breaker_open * 2).max(REFILL_MAX),
            permits: Arc::new(Semaphore::new(in_flight as usize)),
            waiters: AtomicUsize::new(0),
            low_priority_waiters: AtomicUsize::new(0),
            low_polling: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                breaker,
                limiter,
                average: None,
                progress: now,
                slot_clock: now,
                low_clock: now,
                last_used: now,
            }),
        }
    }

    /// The same for other settings. Its permits and, at the same address, its breaker go on, so
    /// that no change lets more requests through; and no change brings a burst.
    pub(in crate::deliver) fn changed(
        &self,
        webhook: &Webhook,
        settings: &config::Deliver,
        now: Instant,
        tasks: &Tasks,
    ) -> Self {
        let mut changed = Self::new(
            webhook,
            settings,
            self.waiters_max_when_slow,
            now,
            Some(Duration::ZERO),
        );
        if webhook.url == self.url {
            changed
                .state
                .get_mut()
                .unwrap_or_else(PoisonError::into_inner)
                .breaker = self.state().breaker.clone();
        }
        match changed.in_flight.max(1).checked_sub(self.in_flight.max(1)) {
            Some(more) => self.permits.add_permits(more as usize),
            None => {
                let fewer = self.in_flight.max(1) - changed.in_flight.max(1);
                let permits = Arc::clone(&self.permits);
                // Those that are taken go when their requests end.
                tasks.once(TaskKind::PermitShrink, async move {
                    if let Ok(gone) = permits.acquire_many_owned(fewer).await {
                        gone.forget();
                    }
                });
            }
        }
        changed.permits = Arc::clone(&self.permits);
        changed
    }

    /// Whether its settings are from after a webhook's.
    pub(in crate::deliver) fn is_newer_than(&self, webhook: &Webhook) -> bool {
        self.updated_at > webhook.updated_at
    }

    /// A webhook's address as this client judges it. It is not the limiter's own where that was
    /// made for newer settings: the request is signed with the webhook's secrets, which may not be
    /// known there.
    pub(in crate::deliver) fn target(&self, webhook: &Webhook, egress: &egress::Client) -> Target {
        if webhook.url == self.url {
            self.target.get_or_init(|| egress.target(&self.url)).clone()
        } else {
            egress.target(&webhook.url)
        }
    }

    /// Takes what is left of the burst.
    pub(in crate::deliver) fn drain(&self, now: Instant) {
        self.state().limiter = Limiter::refilled(self.rate, self.burst, Duration::ZERO, now);
    }

    /// Whether it was built for these settings.
    pub(in crate::deliver) fn fits(&self, webhook: &Webhook) -> bool {
        self.rate == webhook.rate_per_second
            && self.burst == webhook.burst()
            && self.in_flight == webhook.in_flight
            && self.url == webhook.url
    }

    /// Whether nothing would be lost by forgetting it.
    pub(in crate::deliver) fn idle(&self, now: Instant) -> bool {
        let state = self.state();
        now.saturating_duration_since(state.last_used) > self.keep
            && state.slot_clock.max(state.low_clock) <= now
    }

    /// Notes how an attempt ended; whether it opened the breaker.
    pub(in crate::deliver) fn record_result(
        &self,
        mut permit: SendPermit,
        latency: Duration,
        result: AttemptResult,
    ) -> bool {
        let now = now();
        let kind = permit.used();
        let mut state = self.state();
        state.average = Some(pacing::average(state.average, latency));
        state.progress = now;
        state.last_used = now;
        match result {
            AttemptResult::Failed => {
                let opened = state.breaker.failure(now);
                if opened {
                    telemetry::breaker("open");
                }
                opened
            }
            AttemptResult::Reached => {
                state.breaker.success();
                if kind == Kind::Probe {
                    telemetry::breaker("closed");
                }
                false
            }
        }
    }

    /// The probe was not made: another may start at once.
    pub(super) fn cancel_probe(&self) {
        self.state().breaker.cancel_probe(now());
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing here leaves the state half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
