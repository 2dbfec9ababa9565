//! Deliveries that wait for their time.

use std::time::Duration;

use async_nats::{HeaderMap, header};

use super::{Bus, Error, Stream, usage::signed};
use crate::{
    model::{ClientId, Delivery, EventId, Timestamp},
    wire::{self, subject},
};

/// The farthest ahead that anything is parked: the longest wait of a webhook's own schedule, and
/// its jitter. Whatever asks for more is mistaken about the time.
pub const PARKED_AHEAD_MAX: Duration = Duration::from_secs(8 * 24 * 3600);
/// How often a schedule is looked at that changes meanwhile.
const LOOKS_MAX: usize = 4;

impl Bus {
    /// Lets a delivery come back at this time of the server's clock, within [`PARKED_AHEAD_MAX`].
    /// Parking it again replaces the earlier time. Returns its number in the stream.
    pub async fn park(&self, delivery: &Delivery, at: Timestamp) -> Result<u64, Error> {
        self.park_with(HeaderMap::new(), delivery, at).await
    }

    async fn park_with(
        &self,
        mut headers: HeaderMap,
        delivery: &Delivery,
        at: Timestamp,
    ) -> Result<u64, Error> {
        let at = at.min(self.now().after(PARKED_AHEAD_MAX));
        headers.insert(header::NATS_SCHEDULE, format!("@at {at}").as_str());
        headers.insert(
            header::NATS_SCHEDULE_TARGET,
            subject::retry(self.partition_count(), delivery.client_id, &delivery.phone).as_str(),
        );
        let subject = subject::park(delivery.client_id, delivery.event_id);
        self.publish(subject, headers, wire::encode_delivery(delivery))
            .await
            .map(|stored| stored.sequence)
    }

    /// The same for what is parked already under this number, with a changed delivery. `None`: it
    /// is not any more, since its time came or it was parked again.
    async fn replace_parked(
        &self,
        sequence: u64,
        delivery: &Delivery,
        at: Timestamp,
    ) -> Result<Option<u64>, Error> {
        // Not if its time has come meanwhile: it would come twice.
        let mut headers = HeaderMap::new();
        headers.insert(
            header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
            sequence.to_string().as_str(),
        );
        match self.park_with(headers, delivery, at).await {
            Err(Error::Exists) => Ok(None),
            parked => {
                let parked = parked?;
                self.forget_parked(delivery);
                Ok(Some(parked))
            }
        }
    }

    /// Lets what is parked under this number come back earlier, and changes nothing else. Returns
    /// its new number; `None`: it is not parked under this number any more.
    pub async fn park_earlier(
        &self,
        client: ClientId,
        event: EventId,
        sequence: u64,
        at: Timestamp,
    ) -> Result<Option<u64>, Error> {
        match self.parked(client, event).await? {
            Some((found, delivery)) if found == sequence => {
                self.replace_parked(sequence, &delivery, at).await
            }
            _ => Ok(None),
        }
    }

    /// Takes back what was parked, if anything is.
    pub async fn unpark(&self, delivery: &Delivery) -> Result<(), Error> {
        let subject = subject::park(delivery.client_id, delivery.event_id);
        // A subject has one schedule, and so one message.
        let Some(parked) = self.oldest(Stream::Retries, &subject, 1).await? else {
            return Ok(());
        };
        if self.delete(Stream::Retries, parked.sequence).await? {
            self.forget_parked(delivery);
        }
        Ok(())
    }

    /// What was parked is gone, and takes no bytes of its client's quota.
    fn forget_parked(&self, delivery: &Delivery) {
        let bytes = signed(wire::encode_delivery(delivery).len());
        let subject = subject::park(delivery.client_id, delivery.event_id);
        self.usage.note(&subject, -bytes);
    }

    /// The delivery of an event as it waits for its time, and its number in the stream.
    pub async fn parked(
        &self,
        client: ClientId,
        event: EventId,
    ) -> Result<Option<(u64, Delivery)>, Error> {
        let found = self
            .oldest(Stream::Retries, &subject::park(client, event), 1)
            .await?;
        // Bytes that cannot be read are kept by the node that they are delivered to.
        Ok(found.and_then(|message| {
            Some((
                message.sequence,
                wire::decode_delivery(&message.payload).ok()?,
            ))
        }))
    }

    /// Lets what waits for its time come at this one, as the first try of a new round; `false`: it
    /// does not wait (any more).
    pub async fn bring_forward(
        &self,
        client: ClientId,
        event: EventId,
        at: Timestamp,
    ) -> Result<bool, Error> {
        for _ in 0..LOOKS_MAX {
            let Some((sequence, delivery)) = self.parked(client, event).await? else {
                return Ok(false);
            };
            let delivery = Delivery {
                attempts_this_round: 0,
                ..delivery
            };
            if self
                .replace_parked(sequence, &delivery, at)
                .await?
                .is_some()
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
