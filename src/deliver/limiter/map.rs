//! The limiters of a partition, by webhook.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{EndpointLimiter, backlog::Budget, now};
use crate::{
    config,
    model::{Webhook, WebhookId},
    tasks::Tasks,
};

/// Below so many limiters nobody looks for idle ones.
const SWEEP_MIN: usize = 128;

/// Limiters made as they are needed and forgotten when idle: memory follows the endpoints in use,
/// not all there are.
pub(in crate::deliver) struct EndpointLimiters {
    settings: config::Deliver,
    waiters_max_when_slow: usize,
    tasks: Tasks,
    budget: Budget,
    map: Mutex<Map>,
}

struct Map {
    limiters: HashMap<WebhookId, Arc<EndpointLimiter>>,
    /// Since when this node alone uses the endpoints' rates; `None`: for as long as matters.
    since: Option<Instant>,
    /// Looks for idle ones at this size; twice what was left last time, so the cost stays flat.
    sweep_at: usize,
}

impl EndpointLimiters {
    pub(in crate::deliver) fn new(
        settings: config::Deliver,
        waiters_max_when_slow: usize,
        tasks: Tasks,
    ) -> Self {
        Self {
            settings,
            waiters_max_when_slow,
            tasks,
            budget: Budget::default(),
            map: Mutex::new(Map {
                limiters: HashMap::new(),
                since: None,
                sweep_at: SWEEP_MIN,
            }),
        }
    }

    /// Another node may have used up the endpoints' bursts until now.
    pub(in crate::deliver) fn taken_over(&self, now: Instant) {
        let mut map = self.map();
        map.since = Some(now);
        for limiter in map.limiters.values() {
            limiter.drain(now);
        }
    }

    /// The limiter of a webhook; a new one when its settings changed, which keeps what is under way
    /// of the old one.
    pub(in crate::deliver) fn of(&self, webhook: &Webhook) -> Arc<EndpointLimiter> {
        let mut map = self.map();
        let now = now();
        if let Some(limiter) = map.limiters.get(&webhook.id) {
            // What waited since before a change must not undo it.
            if limiter.fits(webhook) || limiter.is_newer_than(webhook) {
                return Arc::clone(limiter);
            }
            let changed = Arc::new(limiter.changed(webhook, &self.settings, now, &self.tasks));
            map.limiters.insert(webhook.id, Arc::clone(&changed));
            return changed;
        }
        if map.limiters.len() >= map.sweep_at {
            // Users hold a clone, taken under this lock.
            map.limiters
                .retain(|_, limiter| Arc::strong_count(limiter) > 1 || !limiter.idle(now));
            map.sweep_at = (map.limiters.len() * 2).max(SWEEP_MIN);
        }
        let refilled_for = map.since.map(|since| now - since);
        let limiter = Arc::new(EndpointLimiter::new(
            webhook,
            &self.settings,
            self.waiters_max_when_slow,
            self.budget.clone(),
            now,
            refilled_for,
        ));
        map.limiters.insert(webhook.id, Arc::clone(&limiter));
        limiter
    }

    /// The limiter of a webhook, if it is in use.
    pub(in crate::deliver) fn find(&self, webhook: WebhookId) -> Option<Arc<EndpointLimiter>> {
        self.map().limiters.get(&webhook).map(Arc::clone)
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
