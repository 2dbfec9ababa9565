//! The state of one webhook's endpoint.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, atomic::AtomicUsize},
    time::{Duration, Instant},
};

use tokio::sync::Semaphore;

use super::{
    backlog::{Backlog, Budget},
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
    /// What attempts take, whatever becomes of them.
    pub(super) average: Option<Duration>,
    /// The same of those that reached the endpoint.
    pub(super) answer: Option<Duration>,
    /// Permits that are out, and since when none has come back.
    pub(super) active: u32,
    pub(super) silent_since: Instant,
    /// When a permit was last taken, or an attempt began or ended.
    pub(super) progress: Instant,
    pub(super) slot_clock: Instant,
    /// Of those that came while a probe was in flight. It may answer long before their slots.
    pub(super) probe_clock: Instant,
    /// Of those of low priority: they push nobody else's slots back.
    pub(super) low_clock: Instant,
    pub(super) backlog: Backlog,
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
    pub(super) budget: Budget,
    state: Mutex<State>,
}

impl EndpointLimiter {
    /// `refilled_for`: how long its burst has been filling; `None`: for long enough.
    pub(super) fn new(
        webhook: &Webhook,
        settings: &config::Deliver,
        waiters_max_when_slow: usize,
        budget: Budget,
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
            budget,
            state: Mutex::new(State {
                breaker,
                limiter,
                average: None,
                answer: None,
                active: 0,
                silent_since: now,
                progress: now,
                slot_clock: now,
                probe_clock: now,
                low_clock: now,
                backlog: Backlog::default(),
                last_used: now,
            }),
        }
    }

    /// The same for other settings. Its permits, what is parked and, at the same address, its
    /// breaker go on, so that no change lets more requests through; and no change brings a burst.
    pub(super) fn changed(
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
            self.budget.clone(),
            now,
            Some(Duration::ZERO),
        );
        let is_same_address = webhook.url == self.url;
        let state = changed
            .state
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        let mut old = self.state();
        state.slot_clock = old.slot_clock;
        state.low_clock = old.low_clock;
        state.backlog = mem::take(&mut old.backlog);
        if is_same_address {
            state.breaker = old.breaker.clone();
        } else {
            state.backlog.is_well_again();
        }
        drop(old);
        self.change_permits(changed.in_flight, tasks);
        changed.permits = Arc::clone(&self.permits);
        changed
    }

    fn change_permits(&self, in_flight: u32, tasks: &Tasks) {
        let before = self.in_flight.max(1);
        let after = in_flight.max(1);
        if after >= before {
            self.permits.add_permits((after - before) as usize);
            return;
        }
        let permits = Arc::clone(&self.permits);
        // Those that are taken go when their requests end.
        tasks.once(TaskKind::PermitShrink, async move {
            if let Ok(gone) = permits.acquire_many_owned(before - after).await {
                gone.forget();
            }
        });
    }

    /// Whether its settings are from after a webhook's.
    pub(super) fn is_newer_than(&self, webhook: &Webhook) -> bool {
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
    pub(super) fn drain(&self, now: Instant) {
        self.state().limiter = Limiter::refilled(self.rate, self.burst, Duration::ZERO, now);
    }

    /// Whether it was built for these settings.
    pub(super) fn fits(&self, webhook: &Webhook) -> bool {
        self.rate == webhook.rate_per_second
            && self.burst == webhook.burst()
            && self.in_flight == webhook.in_flight
            && self.url == webhook.url
    }

    /// Whether nothing would be lost by forgetting it.
    pub(super) fn idle(&self, now: Instant) -> bool {
        let state = self.state();
        now.saturating_duration_since(state.last_used) > self.keep
            && state.slot_clock.max(state.low_clock).max(state.probe_clock) <= now
    }

    /// Notes how an attempt ended. `pause`: for how long the endpoint asked for no more requests.
    /// Returns whether a failure opened the breaker.
    pub(in crate::deliver) fn record_result(
        &self,
        mut permit: SendPermit,
        latency: Duration,
        result: AttemptResult,
        pause: Option<Duration>,
    ) -> bool {
        let now = now();
        let kind = permit.used();
        let mut state = self.state();
        state.average = Some(pacing::average(state.average, latency));
        state.progress = now;
        state.last_used = now;
        let opened = match (pause, result) {
            (Some(pause), _) => state.breaker.pause(now + pause),
            (None, AttemptResult::Failed) => state.breaker.failure(now),
            (None, AttemptResult::Reached) => {
                state.answer = Some(pacing::average(state.answer, latency));
                let was_open = state.breaker.open_cause().is_some();
                state.breaker.success();
                if was_open && state.breaker.is_well() {
                    state.backlog.is_well_again();
                }
                if kind == Kind::Probe {
                    telemetry::breaker("closed");
                }
                false
            }
        };
        if opened {
            telemetry::breaker("open");
            // What was parked behind a probe, or far ahead, keeps no one from the next probe.
            let probe_at = now + state.breaker.time_until_probe(now).unwrap_or_default();
            state.slot_clock = state.slot_clock.min(probe_at);
        }
        opened && result == AttemptResult::Failed
    }

    /// A permit came back. A probe that was not made is left to another message.
    pub(super) fn permit_returned(&self, kind: Kind) {
        let now = now();
        let mut state = self.state();
        state.active = state.active.saturating_sub(1);
        state.silent_since = now;
        if kind == Kind::Probe {
            state.breaker.cancel_probe(now);
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        // Nothing here leaves the state half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
