//! What one message brought. The pull loop finds it out once.

use tracing::Span;

use super::{
    chat::Ticket,
    steps::{self, NewMessage},
};
use crate::{
    bus::{Bus, Error, Incoming, Redelivery, Work},
    model::{ChatKey, ClientId, Delivery, EventId, Timestamp, WebhookId},
    wire,
};

/// A message on its way through the stages. The pull loop makes it before it takes the next
/// message, so tickets are taken in the order in which messages come.
pub(super) struct Arrival {
    pub(super) source: Source,
    pub(super) content: Content,
    /// Its place in the order of its chat, where that matters.
    pub(super) ticket: Option<Ticket>,
}

/// The message as the server handed it out. It is settled at the end.
pub(super) struct Source {
    pub(super) work: Work,
    pub(super) incoming: Incoming,
}

/// What the bytes of a message are.
pub(super) enum Content {
    /// A new message, and its webhook.
    Message(Box<NewMessage>),
    /// A new message of a number without a webhook.
    Unrouted,
    /// What was attempted or postponed before.
    Delivery(Delivery),
    /// The bytes are neither.
    Undecodable,
}

/// What a message is read from.
#[derive(Clone, Copy)]
pub(super) struct Encoded<'a> {
    pub(super) work: Work,
    pub(super) payload: &'a [u8],
    /// When the stream stored it.
    pub(super) stored_at: Timestamp,
    /// The id under which it was published, if it had one.
    pub(super) dedupe_id: Option<&'a str>,
}

impl<'a> Encoded<'a> {
    pub(super) fn of(work: Work, incoming: &'a Incoming) -> Self {
        Self {
            work,
            payload: incoming.payload(),
            stored_at: incoming.published_at,
            dedupe_id: incoming.dedupe_id(),
        }
    }
}

impl Source {
    pub(super) fn redelivery(&self) -> Redelivery {
        self.incoming.redelivery()
    }
}

impl Content {
    /// Decodes a message and finds its webhook. Asks the server when the cache does not have it.
    ///
    /// # Errors
    /// When the server does not answer, or the webhook cannot be read.
    pub(super) async fn read(bus: &Bus, encoded: Encoded<'_>) -> Result<Self, Error> {
        let Encoded {
            work,
            payload,
            stored_at,
            dedupe_id,
        } = encoded;
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
            Self::Message(Box::new(NewMessage {
                event_id: steps::event_id(&message, webhook.id, stored_at, dedupe_id),
                chat_key: steps::chat_key(&message, &webhook),
                message,
                webhook,
                published_at: stored_at,
            }))
        }))
    }

    /// The webhook and the chat whose order matters to this message.
    pub(super) fn chat(&self) -> Option<(WebhookId, &ChatKey)> {
        match self {
            Self::Message(new) => Some((new.webhook.id, new.chat_key.as_ref()?)),
            Self::Delivery(delivery) => Some((delivery.webhook_id, delivery.chat_key.as_ref()?)),
            Self::Unrouted | Self::Undecodable => None,
        }
    }

    /// A span that names the event in every log line about it. It costs nothing while log lines of
    /// level `error` are off: the ids are formatted only when the span is made.
    pub(super) fn span(&self) -> Span {
        let Some((event, webhook, client)) = self.ids() else {
            return Span::none();
        };
        tracing::error_span!(
            "delivery",
            event.id = %event,
            webhook.id = %webhook,
            client.id = %client,
        )
    }

    /// Whose it is.
    pub(super) fn client(&self) -> Option<ClientId> {
        self.ids().map(|(_, _, client)| client)
    }

    fn ids(&self) -> Option<(EventId, WebhookId, ClientId)> {
        match self {
            Self::Message(new) => Some((new.event_id, new.webhook.id, new.message.client_id)),
            Self::Delivery(delivery) => {
                Some((delivery.event_id, delivery.webhook_id, delivery.client_id))
            }
            Self::Unrouted | Self::Undecodable => None,
        }
    }
}
