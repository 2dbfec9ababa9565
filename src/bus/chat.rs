//! The line of a chat, where the order of its messages matters: the first is under way or parked, the others wait.

use async_nats::{HeaderMap, header, jetstream::stream::DirectGetErrorKind};

use super::{Bus, Error};
use crate::{
    model::{ClientId, Delivery, Phone},
    wire::{self, subject},
};

const STREAM: &str = "WA_CHAT";

/// One in a line.
pub struct InLine {
    /// Its number in the stream.
    pub sequence: u64,
    /// What waits.
    pub delivery: Delivery,
}

impl Bus {
    /// Puts a delivery at the end of its chat's line. Doing it again within the stream's duplicate window does nothing.
    ///
    /// # Errors
    /// When no acknowledgement came in time.
    pub async fn join_line(&self, delivery: &Delivery) -> Result<(), Error> {
        let subject = subject::chat(delivery.client_id, &delivery.phone, &delivery.chat);
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, format!("line:{}:{}", delivery.event_id, delivery.attempts).as_str());
        self.publish(subject, headers, wire::encode_delivery(delivery)).await.map(drop)
    }

    /// The first in the line of a delivery's chat, or the first after that number. What is another webhook's, from before
    /// the number was registered anew, is dropped.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn first_in_line(&self, of: &Delivery, after: u64) -> Result<Option<InLine>, Error> {
        let stream = self.context.get_stream_no_info(STREAM).await.map_err(Error::api)?;
        let subject = subject::chat(of.client_id, &of.phone, &of.chat);
        let mut next = after + 1;
        loop {
            let message = match stream.direct_get_next_for_subject(subject.clone(), Some(next)).await {
                Ok(message) => message,
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::api(error)),
            };
            match wire::decode_delivery(&message.payload) {
                Ok(delivery) if delivery.webhook_id == of.webhook_id => {
                    return Ok(Some(InLine { sequence: message.sequence, delivery }));
                }
                Ok(_) => {}
                Err(error) => tracing::error!(%error, sequence = message.sequence, "dropping what nobody can read"),
            }
            stream.delete_message(message.sequence).await.map_err(Error::api)?;
            next = message.sequence + 1;
        }
    }

    /// Sends the next of the line on its way, then takes the first out. After a crash between, doing it again sends
    /// nothing twice within the stream's duplicate window.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn leave_line(&self, first: &InLine) -> Result<(), Error> {
        if let Some(next) = self.first_in_line(&first.delivery, first.sequence).await? {
            self.publish_delivery_as(&next.delivery, format!("line:{}", next.sequence)).await?;
        }
        let stream = self.context.get_stream_no_info(STREAM).await.map_err(Error::api)?;
        stream.delete_message(first.sequence).await.map_err(Error::api)?;
        Ok(())
    }

    /// Drops the lines of a number: its webhook is gone.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn purge_lines(&self, client: ClientId, phone: &Phone) -> Result<(), Error> {
        let stream = self.context.get_stream_no_info(STREAM).await.map_err(Error::api)?;
        stream.purge().filter(subject::chat(client, phone, "*")).await.map_err(Error::api)?;
        Ok(())
    }
}
