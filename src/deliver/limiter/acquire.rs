//! Who gets a permit of the endpoint, and how long the others wait.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, sleep, timeout, timeout_at},
};

use super::{
    EndpointLimiter, Postponed, SendPermit, now, pacing,
    permit::{Kind, Waiter},
};
use crate::{model::Priority, policy::Admit};

/// A permit that is used later than this takes a new token: else those that waited together would
/// go together.
pub(super) const PERMIT_FRESH_FOR: Duration = Duration::from_millis(50);
/// Those of low priority that may wait for one endpoint at once.
const LOW_PRIORITY_WAITERS_MAX: usize = 32;

impl EndpointLimiter {
    /// Waits for a permit, but no longer than is worth it.
    pub(in crate::deliver) async fn acquire(
        self: &Arc<Self>,
        priority: Priority,
    ) -> Result<SendPermit, Postponed> {
        match priority {
            Priority::Normal => self.normal_permit().await,
            Priority::Low => self.low_priority_permit().await,
        }
    }

    /// A permit that live traffic leaves. Some wait in a line of their own, of which one alone
    /// looks: they hold no permit while they wait, so nobody ever waits behind them.
    async fn low_priority_permit(self: &Arc<Self>) -> Result<SendPermit, Postponed> {
        const LOW: Priority = Priority::Low;
        self.check_open(LOW)?;
        let waiter = Waiter::join(&self.low_priority_waiters);
        if waiter.before >= LOW_PRIORITY_WAITERS_MAX {
            return Err(self.park("low", LOW));
        }
        let poll_interval = pacing::poll_interval(self.slot_interval(&self.state()));
        let looking = async {
            let _first = self.low_polling.lock().await;
            loop {
                if let Some(permit) = self.spare() {
                    return self.start(permit, LOW);
                }
                sleep(poll_interval).await;
            }
        };
        timeout(self.wait_max, looking)
            .await
            .unwrap_or_else(|_| Err(self.park("low", LOW)))
    }

    fn spare(&self) -> Option<OwnedSemaphorePermit> {
        let mut state = self.state();
        let now = now();
        let tokens = state.limiter.tokens(now);
        let waiters = self.waiters.load(Ordering::Relaxed);
        let free = self.permits.available_permits();
        if !pacing::has_spare_capacity(waiters, free, self.in_flight, tokens, self.burst) {
            return None;
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned().ok()?;
        state.limiter.check(now).is_ok().then_some(permit)
    }

    async fn normal_permit(self: &Arc<Self>) -> Result<SendPermit, Postponed> {
        const NORMAL: Priority = Priority::Normal;
        self.check_open(NORMAL)?;
        let waiter = Waiter::join(&self.waiters);
        if waiter.before == 0
            && let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned()
            && self.check_rate().is_ok()
        {
            return self.start(permit, NORMAL);
        }
        if let Some(cause) = self
            .view(waiter.before)
            .park(self.wait_max, self.waiters_max_when_slow)
        {
            return Err(self.park(cause, NORMAL));
        }
        let deadline = Instant::now() + self.wait_max;
        let Ok(Ok(permit)) = timeout_at(deadline, Arc::clone(&self.permits).acquire_owned()).await
        else {
            return Err(self.park("busy", NORMAL));
        };
        // Those who wait for the rate hold permits, too: after a quiet time that must not look
        // like a hang.
        self.state().progress = now();
        while let Err(wait) = self.check_rate() {
            if Instant::now() + wait > deadline {
                return Err(self.park("rate", NORMAL));
            }
            sleep(wait).await;
        }
        self.start(permit, NORMAL)
    }

    /// Takes a token.
    pub(super) fn check_rate(&self) -> Result<(), Duration> {
        self.state().limiter.check(now())
    }

    /// Whether a permit may still be used; one that had to wait for something else may not, at a
    /// limited rate.
    pub(in crate::deliver) fn recheck_rate(
        &self,
        permit: &SendPermit,
        priority: Priority,
    ) -> Result<(), Postponed> {
        if permit.age() <= PERMIT_FRESH_FOR || self.check_rate().is_ok() {
            return Ok(());
        }
        Err(self.park("rate", priority))
    }

    fn check_open(&self, priority: Priority) -> Result<(), Postponed> {
        let closed_off = self.state().breaker.time_until_probe(now());
        closed_off.map_or(Ok(()), |wait| Err(self.park_until_probe(wait, priority)))
    }

    fn permit_taken(&self) {
        let mut state = self.state();
        if state.active == 0 {
            state.silent_since = now();
        }
        state.active += 1;
    }

    /// The breaker has the last word: those before may have opened it meanwhile.
    fn start(
        self: &Arc<Self>,
        permit: OwnedSemaphorePermit,
        priority: Priority,
    ) -> Result<SendPermit, Postponed> {
        let now = now();
        let admit = {
            let mut state = self.state();
            state.progress = now;
            state.last_used = now;
            state.breaker.admit(now)
        };
        let kind = match admit {
            Admit::Go => Kind::Ordinary,
            Admit::Probe => Kind::Probe,
            Admit::Wait(wait) => return Err(self.park_until_probe(wait, priority)),
        };
        self.permit_taken();
        Ok(SendPermit::new(Arc::clone(self), kind, permit))
    }
}
