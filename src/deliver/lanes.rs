//! The lanes of this node, by webhook.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use super::lane::Lane;
use crate::{
    config,
    model::{Webhook, WebhookId},
};

/// Below so many lanes nobody looks for idle ones.
const FEW: usize = 1024;

/// Lanes made as they are needed, forgotten when idle: memory follows the endpoints in use, not all there are.
pub(super) struct Lanes {
    settings: config::Deliver,
    map: Mutex<Map>,
}

struct Map {
    lanes: HashMap<WebhookId, Arc<Lane>>,
    /// Looks for idle lanes at this size; twice what was left last time, so the cost stays flat.
    sweep_at: usize,
}

impl Lanes {
    pub(super) fn new(settings: config::Deliver) -> Self {
        Self { settings, map: Mutex::new(Map { lanes: HashMap::new(), sweep_at: FEW }) }
    }

    /// The lane of a webhook; a new one when its settings changed.
    pub(super) fn of(&self, webhook: &Webhook) -> Arc<Lane> {
        let mut map = self.map.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = map.lanes.get(&webhook.id)
            && lane.fits(webhook)
        {
            return Arc::clone(lane);
        }
        let now = Instant::now();
        if map.lanes.len() >= map.sweep_at {
            // Users hold a clone, taken under this lock.
            map.lanes.retain(|_, lane| Arc::strong_count(lane) > 1 || !lane.idle(now));
            map.sweep_at = (map.lanes.len() * 2).max(FEW);
        }
        let lane = Arc::new(Lane::new(webhook, &self.settings, now));
        map.lanes.insert(webhook.id, Arc::clone(&lane));
        lane
    }
}
