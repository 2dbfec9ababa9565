//! From what the bus brought to a delivery and its webhook.

use std::sync::Arc;

use super::{arrival::Content, steps};
use crate::{
    bus::{Bus, Error},
    model::{Delivery, Webhook},
};

/// Where a message goes.
pub(super) enum Route {
    /// Nobody registered a webhook for this number.
    Unrouted,
    /// The bytes are neither a message nor a delivery.
    Undecodable,
    /// Its webhook was deleted.
    WebhookDeleted(Delivery),
    /// To this webhook.
    To(Delivery, Arc<Webhook>),
}

/// Builds the delivery of a new message, or finds the webhook of a delivery.
///
/// # Errors
/// When the server does not answer, or the webhook cannot be read.
pub(super) async fn route(bus: &Bus, content: Content) -> Result<Route, Error> {
    let webhooks = bus.webhooks();
    let delivery = match content {
        Content::Undecodable => return Ok(Route::Undecodable),
        Content::Unrouted => return Ok(Route::Unrouted),
        Content::Message(new) => {
            let webhook = Arc::clone(&new.webhook);
            let delivery = steps::first(*new, bus.body_bytes_max());
            return Ok(Route::To(delivery, webhook));
        }
        Content::Delivery(delivery) => delivery,
    };
    if let Some(webhook) = webhooks.cached_by_id(delivery.client_id, delivery.webhook_id) {
        return Ok(Route::To(delivery, webhook));
    }
    // The cache may be behind, or deaf. Only the server's answer is enough to give a delivery up.
    let webhook = webhooks
        .fetch_by_phone(delivery.client_id, &delivery.phone)
        .await?;
    Ok(
        match webhook.filter(|webhook| webhook.id == delivery.webhook_id) {
            Some(webhook) => Route::To(delivery, webhook),
            None => Route::WebhookDeleted(delivery),
        },
    )
}
