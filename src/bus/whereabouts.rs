//! Whether anybody still works on a delivery: whether any stream has it.

use super::{Bus, Error, Stream};
use crate::{
    model::Delivery,
    wire::{self, subject},
};

/// Due retries of one number that are looked through for one of them. With more, it may be any.
const LOOKS_MAX: usize = 32;

/// How far results are on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultsRead {
    /// The newest result's number.
    pub newest: u64,
    /// The oldest one that is not on record yet; `None`: all are.
    pub oldest_waiting: Option<u64>,
}

impl ResultsRead {
    /// Whether all results are on record that there were at an earlier look. A stream that was made
    /// again had none of them.
    pub fn has_all_of(&self, earlier: &Self) -> bool {
        self.oldest_waiting
            .is_none_or(|oldest| oldest > earlier.newest)
    }
}

impl Bus {
    /// Whether a stream has this delivery, or may have it: it waits, is in hand, or is held. What
    /// it is not in, nobody works on.
    pub async fn is_somewhere(&self, delivery: &Delivery) -> Result<bool, Error> {
        let Delivery {
            client_id: client,
            phone,
            event_id: event,
            ..
        } = delivery;
        if self.parked(*client, *event).await?.is_some()
            || self.is_queued(*client, phone, *event).await?
            || self.may_be_due(delivery).await?
            || self.may_be_new(delivery).await?
        {
            return Ok(true);
        }
        // Held deliveries are not kept by event. With some of the number, it may be one of them.
        let held = self.held_counts(*client, Some(phone)).await?;
        Ok(!held.is_empty())
    }

    /// Whether it may be among the due retries of its number. Each is there until it is settled.
    async fn may_be_due(&self, delivery: &Delivery) -> Result<bool, Error> {
        let partitions = self.partition_count();
        let subject = subject::retry(partitions, delivery.client_id, &delivery.phone);
        let mut from = 1;
        for _ in 0..LOOKS_MAX {
            let Some(message) = self.oldest(Stream::Retries, &subject, from).await? else {
                return Ok(false);
            };
            let found = wire::decode_delivery(&message.payload);
            if found.is_ok_and(|found| found.event_id == delivery.event_id) {
                return Ok(true);
            }
            from = message.sequence + 1;
        }
        Ok(true)
    }

    /// Whether its message may still be among the new ones.
    async fn may_be_new(&self, delivery: &Delivery) -> Result<bool, Error> {
        let partition = self.partition_of(delivery.client_id, &delivery.phone);
        let subject = subject::stored_message(partition, delivery.client_id, &delivery.phone);
        let oldest = self.oldest(Stream::Messages, &subject, 1).await?;
        Ok(oldest.is_some_and(|oldest| delivery.event_id.timestamp() >= oldest.time.into()))
    }

    /// How far results are on record.
    pub async fn results_read(&self) -> Result<ResultsRead, Error> {
        let stream = self.context.get_stream(Stream::Results.as_str()).await?;
        let state = &stream.cached_info().state;
        Ok(ResultsRead {
            newest: state.last_sequence,
            oldest_waiting: (state.messages > 0).then_some(state.first_sequence),
        })
    }

    /// Sends a delivery that was lost. Asking for the same one again within ten minutes sends none.
    pub async fn send_lost(&self, delivery: &Delivery) -> Result<(), Error> {
        const ONCE_MS: i64 = 600_000;
        let id = format!(
            "lost:{}:{}:{}",
            delivery.event_id,
            delivery.attempt_count,
            self.now().millis() / ONCE_MS
        );
        self.publish_delivery_as(delivery, id).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_an_earlier_look_are_on_record_when_none_of_them_waits() {
        let earlier = ResultsRead {
            newest: 7,
            oldest_waiting: Some(3),
        };
        for (oldest_waiting, has_all) in [(None, true), (Some(8), true), (Some(7), false)] {
            let now = ResultsRead {
                newest: 9,
                oldest_waiting,
            };
            assert_eq!(now.has_all_of(&earlier), has_all, "{oldest_waiting:?}");
        }
    }
}
