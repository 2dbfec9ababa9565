//! Deliveries that wait for their time.

use async_nats::{HeaderMap, header};

use super::{Bus, Error, Work, chat::is_absent};
use crate::{
    model::{ClientId, Delivery, EventId, Timestamp},
    wire::{self, subject},
};

/// How often a schedule is looked at that changes meanwhile.
const LOOKS_MAX: usize = 4;

impl Bus {
    /// The delivery of an event as it waits for its time, and its number in the stream.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn parked(&self, client: ClientId, event: EventId) -> Result<Option<(u64, Delivery)>, Error> {
        let stream = self.context.get_stream_no_info(Work::Retry.stream()).await.map_err(Error::api)?;
        match stream.get_first_raw_message_by_subject(subject::park(client, event), 1).await {
            // Bytes that nobody can read are found by whoever they come to.
            Ok(message) => Ok(wire::decode_delivery(&message.payload).ok().map(|found| (message.sequence, found))),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(Error::api(error)),
        }
    }

    /// Lets what waits for its time come at this one, as the first try of a new round; `false`: it does not wait (any more).
    ///
    /// # Errors
    /// When no acknowledgement came in time.
    pub async fn bring_forward(&self, client: ClientId, event: EventId, at: Timestamp) -> Result<bool, Error> {
        for _ in 0..LOOKS_MAX {
            let Some((sequence, delivery)) = self.parked(client, event).await? else { return Ok(false) };
            let delivery = Delivery { tries: 0, ..delivery };
            // Not if its time has come meanwhile: it would come twice.
            let mut headers = HeaderMap::new();
            headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string().as_str());
            match self.park_with(headers, &delivery, at).await {
                Err(Error::Exists) => {}
                parked => return parked.map(|()| true),
            }
        }
        Ok(false)
    }
}
