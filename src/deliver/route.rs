//! From what the bus brought to a delivery and its webhook.

use std::sync::Arc;

use super::steps;
use crate::{
    bus::{Bus, Error, Work},
    model::{Delivery, Message, Timestamp, Webhook},
    wire,
};

/// What the bus brought, as far as it can be told without waiting.
pub(super) enum Read {
    /// A new message, and the webhook of its number if the cache has one.
    Message(Box<Message>, Option<Arc<Webhook>>),
    /// What was attempted or put off before.
    Delivery(Delivery),
    /// The bytes are neither.
    Undecodable,
}

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

pub(super) fn read(bus: &Bus, work: Work, payload: &[u8]) -> Read {
    if work != Work::Message {
        return wire::decode_delivery(payload).map_or(Read::Undecodable, Read::Delivery);
    }
    let Ok(message) = wire::decode_message(payload) else {
        return Read::Undecodable;
    };
    let webhook = bus
        .registry()
        .cached_by_phone(message.client_id, &message.phone);
    Read::Message(Box::new(message), webhook)
}

/// `published_at` is when the stream stored the bytes.
pub(super) async fn route(bus: &Bus, read: Read, published_at: Timestamp) -> Result<Route, Error> {
    let registry = bus.registry();
    let delivery = match read {
        Read::Undecodable => return Ok(Route::Undecodable),
        Read::Message(message, known) => {
            let webhook = match known {
                Some(webhook) => Some(webhook),
                // A miss is asked of the server before it is believed.
                None => {
                    registry
                        .fetch_by_phone(message.client_id, &message.phone)
                        .await?
                }
            };
            return Ok(match webhook {
                None => Route::Unrouted,
                Some(webhook) => Route::To(steps::first(&message, &webhook, published_at), webhook),
            });
        }
        Read::Delivery(delivery) => delivery,
    };
    if let Some(webhook) = registry
        .by_id(delivery.client_id, delivery.webhook_id)
        .await?
    {
        return Ok(Route::To(delivery, webhook));
    }
    // The cache may lag behind; giving a delivery up takes the server's word.
    let webhook = registry
        .fetch_by_phone(delivery.client_id, &delivery.phone)
        .await?;
    Ok(
        match webhook.filter(|webhook| webhook.id == delivery.webhook_id) {
            Some(webhook) => Route::To(delivery, webhook),
            None => Route::Gone(delivery),
        },
    )
}
