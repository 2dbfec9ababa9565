//! What one message brought, found out once by the pull loop.

use std::sync::Arc;

use super::{chat::Ticket, steps};
use crate::{
    bus::{Bus, Error, Incoming, Work},
    model::{Delivery, Message, Webhook, WebhookId},
    wire,
};

/// A message on its way through the stages. The pull loop makes it before it takes the next
/// message, so tickets are taken in the order in which messages come.
pub(super) struct Arrival {
    pub(super) work: Work,
    pub(super) incoming: Incoming,
    pub(super) content: Content,
    /// Its place in the order of its chat, where that matters.
    pub(super) ticket: Option<Ticket>,
}

/// What the bytes of a message are.
pub(super) enum Content {
    /// A new message, its webhook, and the key of its chat where the webhook asks for the order of
    /// chats; else empty.
    Message(Box<Message>, Arc<Webhook>, String),
    /// A new message of a number without a webhook.
    Unrouted,
    /// What was attempted or postponed before.
    Delivery(Delivery),
    /// The bytes are neither.
    Undecodable,
}

impl Content {
    /// Decodes a message and finds its webhook. Asks the server when the cache does not have it.
    ///
    /// # Errors
    /// When the server does not answer, or the webhook cannot be read.
    pub(super) async fn read(bus: &Bus, work: Work, payload: &[u8]) -> Result<Self, Error> {
        if work != Work::Message {
            return Ok(wire::decode_delivery(payload).map_or(Self::Undecodable, Self::Delivery));
        }
        let Ok(message) = wire::decode_message(payload) else {
            return Ok(Self::Undecodable);
        };
        let webhooks = bus.webhooks();
        let cached = webhooks.cached_by_phone(message.client_id, &message.phone);
        let webhook = match cached {
            Some(webhook) => Some(webhook),
            None => Box::pin(webhooks.fetch_by_phone(message.client_id, &message.phone)).await?,
        };
        Ok(webhook.map_or(Self::Unrouted, |webhook| {
            let chat = steps::chat_key(&message, &webhook);
            Self::Message(Box::new(message), webhook, chat)
        }))
    }

    /// The webhook and the chat whose order matters to this message.
    pub(super) fn chat(&self) -> Option<(WebhookId, &str)> {
        let (webhook, chat) = match self {
            Self::Message(_, webhook, chat) => (webhook.id, chat),
            Self::Delivery(delivery) => (delivery.webhook_id, &delivery.chat),
            Self::Unrouted | Self::Undecodable => return None,
        };
        (!chat.is_empty()).then_some((webhook, chat.as_str()))
    }
}
