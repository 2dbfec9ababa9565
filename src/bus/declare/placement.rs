//! Where streams lie.

use serde_json::{Map, Value};

use crate::config;

/// On which servers streams lie, as far as that is asked for.
pub(super) fn of(settings: &config::Bus) -> Option<Value> {
    let mut placement = Map::new();
    if let Some(cluster) = &settings.placement_cluster {
        placement.insert("cluster".to_owned(), cluster.clone().into());
    }
    if !settings.placement_tags.is_empty() {
        placement.insert("tags".to_owned(), settings.placement_tags.clone().into());
    }
    (!placement.is_empty()).then_some(placement.into())
}
