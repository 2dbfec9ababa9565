//! The lanes of a partition, by webhook.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::EndpointLimiter;
use crate::{
    config,
    model::{Webhook, WebhookId},
    tasks::Tasks,
};

/// Below so many lanes nobody looks for idle ones.
const FEW: usize = 128;

/// EndpointLimiters made as they are needed, forgotten when idle: memory follows the endpoints in
/// use, not all there are.
pub(in crate::deliver) struct EndpointLimiters {
    settings: config::Deliver,
    waiters_max_when_slow: usize,
    tasks: Tasks,
    map: Mutex<Map>,
}

struct Map {
    lanes: HashMap<WebhookId, Arc<EndpointLimiter>>,
    /// Since when this node alone uses the endpoints' rates; `None`: for as long as matters.
    since: Option<Instant>,
    /// Looks for idle lanes at this size; twice what was left last time, so the cost stays flat.
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
            map: Mutex::new(Map {
                lanes: HashMap::new(),
                since: None,
                sweep_at: FEW,
            }),
        }
    }

    /// Another node may have used up the endpoints' bursts until now.
    pub(in crate::deliver) fn taken_over(&self, now: Instant) {
        let mut map = self.map();
        map.since = Some(now);
        map.lanes.values().for_each(|lane| lane.drain(now));
    }

    /// The lane of a webhook; a new one when its settings changed, which keeps what is under way of
    /// the old one.
    pub(in crate::deliver) fn of(&self, webhook: &Webhook) -> Arc<EndpointLimiter> {
        let mut map = self.map();
        let now = Instant::now();
        if let Some(lane) = map.lanes.get(&webhook.id) {
            // What waited since before a change must not undo it.
            if lane.fits(webhook) || lane.is_newer_than(webhook) {
                return Arc::clone(lane);
            }
            let changed = Arc::new(lane.changed(webhook, &self.settings, now, &self.tasks));
            map.lanes.insert(webhook.id, Arc::clone(&changed));
            return changed;
        }
        if map.lanes.len() >= map.sweep_at {
            // Users hold a clone, taken under this lock.
            map.lanes
                .retain(|_, lane| Arc::strong_count(lane) > 1 || !lane.idle(now));
            map.sweep_at = (map.lanes.len() * 2).max(FEW);
        }
        let refilled_for = map.since.map(|since| now - since);
        let lane = Arc::new(EndpointLimiter::new(
            webhook,
            &self.settings,
            self.waiters_max_when_slow,
            now,
            refilled_for,
        ));
        map.lanes.insert(webhook.id, Arc::clone(&lane));
        lane
    }

    fn map(&self) -> MutexGuard<'_, Map> {
        self.map.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
