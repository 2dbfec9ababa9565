//! Messages that wait for their webhook.

use async_nats::{HeaderMap, jetstream::stream::DirectGetErrorKind};

use super::{Bus, Error};
use crate::{
    model::{ClientId, Delivery, Phone, WebhookId},
    wire::{self, subject},
};

const STREAM: &str = "WA_HOLD";

impl Bus {
    /// Keeps a delivery until its webhook takes deliveries again.
    ///
    /// # Errors
    /// When no acknowledgement came in time.
    pub async fn hold(&self, delivery: &Delivery) -> Result<(), Error> {
        let subject = subject::hold(delivery.client_id, &delivery.phone);
        self.publish(subject, HeaderMap::new(), wire::encode_delivery(delivery)).await.map(drop)
    }

    /// Sends what is held for a number on its way again, oldest first. Each is deleted once it is, so calling this
    /// twice, or after a crash, doubles nothing within the stream's duplicate window.
    ///
    /// # Errors
    /// When the bus does not answer; what is left stays held.
    pub async fn release_held(&self, client: ClientId, phone: &Phone, webhook: WebhookId) -> Result<u64, Error> {
        let stream = self.context.get_stream_no_info(STREAM).await.map_err(Error::api)?;
        let subject = subject::hold(client, phone);
        let (mut next, mut released) = (1, 0);
        loop {
            let message = match stream.direct_get_next_for_subject(subject.clone(), Some(next)).await {
                Ok(message) => message,
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(released),
                Err(error) => return Err(Error::api(error)),
            };
            next = message.sequence + 1;
            match wire::decode_delivery(&message.payload) {
                Ok(delivery) if delivery.webhook_id == webhook => {
                    self.publish_delivery_as(&delivery, format!("held:{}", message.sequence)).await?;
                    released += 1;
                }
                // Of a webhook that was deleted, or unreadable: no one will ever ask for it.
                Ok(_) => {}
                Err(error) => {
                    tracing::error!(%error, sequence = message.sequence, "dropping an unreadable held message")
                }
            }
            stream.delete_message(message.sequence).await.map_err(Error::api)?;
        }
    }

    /// Drops what is held for a number: its webhook is gone.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn purge_held(&self, client: ClientId, phone: &Phone) -> Result<(), Error> {
        let stream = self.context.get_stream_no_info(STREAM).await.map_err(Error::api)?;
        stream.purge().filter(subject::hold(client, phone)).await.map_err(Error::api)?;
        Ok(())
    }
}
