//! From what the bus brought to a delivery and its webhook.

use std::sync::Arc;

use super::steps;
use crate::{
    bus::{Bus, Error, Work},
    model::{Delivery, Timestamp, Webhook},
    wire,
};

/// Where it goes.
pub(super) enum Route {
    /// Nobody registered a webhook for this number.
    Unrouted,
    /// The bytes are neither a message nor a delivery.
    Undecodable,
    /// Its webhook was deleted.
    Gone(Delivery),
    /// To this webhook.
    To(Delivery, Arc<Webhook>),
}

/// `published_at` is when the stream stored the bytes.
pub(super) async fn route(bus: &Bus, work: Work, payload: &[u8], published_at: Timestamp) -> Result<Route, Error> {
    if work == Work::Message {
        let Ok(message) = wire::decode_message(payload) else { return Ok(Route::Undecodable) };
        let webhook = bus.registry().find(message.client_id, &message.phone).await?;
        return Ok(match webhook {
            None => Route::Unrouted,
            Some(webhook) => Route::To(steps::first(&message, &webhook, published_at), webhook),
        });
    }
    let Ok(delivery) = wire::decode_delivery(payload) else { return Ok(Route::Undecodable) };
    let registry = bus.registry();
    if let Some(webhook) = registry.get(delivery.client_id, delivery.webhook_id).await? {
        return Ok(Route::To(delivery, webhook));
    }
    // The cache may lag behind; giving a delivery up takes the server's word.
    let webhook = registry.fresh(delivery.client_id, &delivery.phone).await?;
    Ok(match webhook.filter(|webhook| webhook.id == delivery.webhook_id) {
        Some(webhook) => Route::To(delivery, webhook),
        None => Route::Gone(delivery),
    })
}
