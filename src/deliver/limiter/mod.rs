//! One endpoint's share of the node.

mod map;
mod pacing;

use std::{
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout, timeout_at},
};

use self::pacing::{LoadEstimate, Tokens};
use crate::{
    config,
    egress::{self, Target},
    model::{BURST_SECONDS_MAX, Priority, Timestamp, Webhook},
    policy::{Admit, Breaker, Clock, Limiter},
    tasks::{TaskKind, Tasks},
    telemetry,
};

pub(in crate::deliver) use map::EndpointLimiters;

/// Tokio's clock, which tests can pause.
const CLOCK: Clock = Clock::new(|| tokio::time::Instant::now().into_std());

/// A burst is full again after so long; the API refuses larger ones.
const REFILL_MAX: Duration = Duration::from_secs(BURST_SECONDS_MAX as u64);
/// A turn that is used later than this takes a new token: else those that waited together would go
/// together.
const PERMIT_FRESH_FOR: Duration = Duration::from_millis(50);
/// Those of low priority that may wait for one lane at once.
const LOW_PRIORITY_WAITERS_MAX: usize = 32;

/// Not now: come back at `at`.
#[derive(Debug, Clone, Copy)]
pub(in crate::deliver) struct Postponed {
    pub(in crate::deliver) cause: &'static str,
    pub(in crate::deliver) at: Instant,
}

/// Leave for one attempt; the place is free again when this is dropped, and so is a probe that was
/// not made.
pub(in crate::deliver) struct SendPermit {
    limiter: Arc<EndpointLimiter>,
    probe: bool,
    at: Instant,
    _permit: OwnedSemaphorePermit,
}

struct State {
    breaker: Breaker,
    average: Option<Duration>,
    /// When a place was last taken, or an attempt began or ended.
    progress: Instant,
    slot_clock: Instant,
    /// Of those of low priority: they push nobody else's slots back.
    low_clock: Instant,
    tokens: Tokens,
    last_used: Instant,
}

/// Rate, places and breaker of one webhook.
pub(in crate::deliver) struct EndpointLimiter {
    url: String,
    target: OnceLock<Target>,
    updated_at: Timestamp,
    rate: u32,
    burst: u32,
    in_flight: u32,
    patience: Duration,
    /// Waiters that a loop bears when the lane hardly moves.
    waiters_max_when_slow: usize,
    keep: Duration,
    permits: Arc<Semaphore>,
    limiter: Limiter,
    waiters: AtomicUsize,
    /// Those of low priority that wait, and which of them looks.
    low_priority_waiters: AtomicUsize,
    low_polling: tokio::sync::Mutex<()>,
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
            None => Limiter::new(rate, burst, CLOCK),
            Some(time) => Limiter::refilled(rate, burst, time, CLOCK),
        };
        Self {
            url: webhook.url.clone(),
            target: OnceLock::new(),
            updated_at: webhook.updated_at,
            rate,
            in_flight: webhook.in_flight,
            patience: settings.lane_wait,
            waiters_max_when_slow,
            burst,
            keep: (settings.breaker_open * 2).max(REFILL_MAX),
            permits: Arc::new(Semaphore::new(in_flight as usize)),
            limiter,
            waiters: AtomicUsize::new(0),
            low_priority_waiters: AtomicUsize::new(0),
            low_polling: tokio::sync::Mutex::default(),
            state: Mutex::new(State {
                breaker,
                average: None,
                progress: now,
                slot_clock: now,
                low_clock: now,
                tokens: Tokens::filled(rate, burst, refilled_for, now),
                last_used: now,
            }),
        }
    }

    /// The same for other settings. Its places and, at the same address, its breaker go on, so that
    /// no change lets more requests through; and no change brings a burst.
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

    /// A webhook's address as this client judges it. It is not the lane's own where that was made
    /// for newer settings: the request is signed with the webhook's secrets, which may not be known
    /// there.
    pub(in crate::deliver) fn target(&self, webhook: &Webhook, egress: &egress::Client) -> Target {
        if webhook.url == self.url {
            self.target.get_or_init(|| egress.target(&self.url)).clone()
        } else {
            egress.target(&webhook.url)
        }
    }

    /// Takes what is left of the burst.
    pub(in crate::deliver) fn drain(&self, now: Instant) {
        while self.limiter.check().is_ok() {}
        self.state().tokens = Tokens::filled(self.rate, self.burst, Some(Duration::ZERO), now);
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

    /// Waits for a turn, but no longer than is worth it.
    pub(in crate::deliver) async fn acquire(
        self: &Arc<Self>,
        priority: Priority,
    ) -> Result<SendPermit, Postponed> {
        match priority {
            Priority::Normal => self.normal_permit().await,
            Priority::Low => self.low_priority_permit().await,
        }
    }

    /// A turn that live traffic leaves. Some wait in a line of their own, of which one alone looks:
    /// they hold no place while they wait, so nobody ever waits behind them.
    async fn low_priority_permit(self: &Arc<Self>) -> Result<SendPermit, Postponed> {
        const LOW: Priority = Priority::Low;
        self.check_open(LOW)?;
        let waiting = Waiting::join(&self.low_priority_waiters);
        if waiting.before >= LOW_PRIORITY_WAITERS_MAX {
            return Err(self.park("low", LOW));
        }
        let poll_interval = pacing::poll_interval(self.view(0).interval());
        let looking = async {
            let _first = self.low_polling.lock().await;
            loop {
                if let Some(permit) = self.spare() {
                    return self.start(permit, LOW);
                }
                sleep(poll_interval).await;
            }
        };
        timeout(self.patience, looking)
            .await
            .unwrap_or_else(|_| Err(self.park("low", LOW)))
    }

    fn spare(&self) -> Option<OwnedSemaphorePermit> {
        let tokens = self
            .state()
            .tokens
            .left(self.rate, self.burst, Instant::now());
        let waiters = self.waiters.load(Ordering::Relaxed);
        let free = self.permits.available_permits();
        if !pacing::has_spare_capacity(waiters, free, self.in_flight, tokens, self.burst) {
            return None;
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        self.limiter.check().is_ok().then_some(permit)
    }

    async fn normal_permit(self: &Arc<Self>) -> Result<SendPermit, Postponed> {
        const NORMAL: Priority = Priority::Normal;
        self.check_open(NORMAL)?;
        let waiting = Waiting::join(&self.waiters);
        if waiting.before == 0
            && let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned()
            && self.limiter.check().is_ok()
        {
            return self.start(permit, NORMAL);
        }
        if let Some(cause) = self
            .view(waiting.before)
            .park(self.patience, self.waiters_max_when_slow)
        {
            return Err(self.park(cause, NORMAL));
        }
        let deadline = tokio::time::Instant::now() + self.patience;
        let Ok(Ok(permit)) = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await
        else {
            return Err(self.park("busy", NORMAL));
        };
        // Those who wait for the rate hold places, too: after a quiet time that must not look like
        // a hang.
        self.state().progress = Instant::now();
        while let Err(wait) = self.limiter.check() {
            if tokio::time::Instant::now() + wait > deadline {
                return Err(self.park("rate", NORMAL));
            }
            sleep(wait).await;
        }
        self.start(permit, NORMAL)
    }

    /// Whether a turn may still be used; one that had to wait for something else may not, at a
    /// limited rate.
    pub(in crate::deliver) fn recheck_rate(
        &self,
        turn: &SendPermit,
        priority: Priority,
    ) -> Result<(), Postponed> {
        if turn.at.elapsed() <= PERMIT_FRESH_FOR || self.limiter.check().is_ok() {
            return Ok(());
        }
        Err(self.park("rate", priority))
    }

    /// A slot for a message that cannot go now.
    pub(in crate::deliver) fn park(&self, cause: &'static str, priority: Priority) -> Postponed {
        self.postpone_after(cause, self.patience, priority)
    }

    /// Notes how an attempt ended; whether it opened the breaker.
    pub(in crate::deliver) fn record_result(
        &self,
        mut turn: SendPermit,
        latency: Duration,
        is_endpoint_failure: bool,
    ) -> bool {
        let now = Instant::now();
        let probe = mem::take(&mut turn.probe);
        let mut state = self.state();
        state.average = Some(pacing::average(state.average, latency));
        state.progress = now;
        state.last_used = now;
        if is_endpoint_failure {
            let opened = state.breaker.failure(now);
            if opened {
                telemetry::breaker("open");
            }
            return opened;
        }
        state.breaker.success();
        if probe {
            telemetry::breaker("closed");
        }
        false
    }

    fn check_open(&self, priority: Priority) -> Result<(), Postponed> {
        let closed_off = self.state().breaker.time_until_probe(Instant::now());
        closed_off.map_or(Ok(()), |wait| {
            Err(self.postpone_after("breaker", wait, priority))
        })
    }

    fn postpone_after(&self, cause: &'static str, wait: Duration, priority: Priority) -> Postponed {
        let now = Instant::now();
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

    fn view(&self, waiters: usize) -> LoadEstimate {
        let state = self.state();
        let all_busy = self.permits.available_permits() == 0;
        let latency = pacing::latency(
            state.average.unwrap_or_default(),
            all_busy,
            state.progress.elapsed(),
        );
        LoadEstimate {
            waiters,
            latency,
            in_flight: self.in_flight,
            rate: self.rate,
        }
    }

    /// The breaker has the last word: those before may have opened it meanwhile.
    fn start(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        priority: Priority,
    ) -> Result<SendPermit, Postponed> {
        let now = Instant::now();
        let admit = {
            let mut state = self.state();
            (state.progress, state.last_used) = (now, now);
            state.tokens.take(self.rate, self.burst, now);
            state.breaker.admit(now)
        };
        let probe = match admit {
            Admit::Go => false,
            Admit::Probe => true,
            Admit::Wait(wait) => return Err(self.postpone_after("breaker", wait, priority)),
        };
        Ok(SendPermit {
            limiter: Arc::clone(self),
            probe,
            at: now,
            _permit: permit,
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing here leaves the state half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SendPermit {
    /// The limiter that gave it.
    pub(in crate::deliver) fn limiter(&self) -> Arc<EndpointLimiter> {
        Arc::clone(&self.limiter)
    }
}

impl fmt::Debug for SendPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendPermit")
            .field("probe", &self.probe)
            .finish_non_exhaustive()
    }
}

impl Drop for SendPermit {
    fn drop(&mut self) {
        if self.probe {
            self.limiter.state().breaker.cancel_probe(Instant::now());
        }
    }
}

/// Counts one waiter as long as it lives.
struct Waiting<'a> {
    waiters: &'a AtomicUsize,
    before: usize,
}

impl<'a> Waiting<'a> {
    fn join(waiters: &'a AtomicUsize) -> Self {
        Self {
            waiters,
            before: waiters.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests;
