//! The fake of the stream of chat queues.

use super::world::{State, World};
use crate::{
    bus::{Error, Queued, Redelivery, StoredAs},
    deliver::chat::queues::ChatQueues,
    model::{Delivery, Timestamp},
};

impl State {
    fn head_of(&self, of: &Delivery) -> Option<Queued> {
        let is_its = |(_, delivery): &(&u64, &Delivery)| delivery.chat_key == of.chat_key;
        let (sequence, delivery) = self.queues.iter().find(is_its)?;
        Some(Queued {
            stored_as: StoredAs {
                at: Timestamp::EPOCH,
                sequence: *sequence,
            },
            delivery: delivery.clone(),
        })
    }

    fn entry_of(&self, of: &Delivery) -> Option<u64> {
        let is_it = |(_, delivery): &(&u64, &Delivery)| delivery.event_id == of.event_id;
        self.queues
            .iter()
            .find(is_it)
            .map(|(sequence, _)| *sequence)
    }
}

impl ChatQueues for World {
    async fn enqueue(&self, delivery: &Delivery) -> Result<(), Error> {
        if self.happens(self.faults.full) {
            return Err(Error::Full);
        }
        self.note("enqueue", delivery);
        self.call(|state| {
            if state.entry_of(delivery).is_none() {
                state.last_sequence += 1;
                state.queues.insert(state.last_sequence, delivery.clone());
            }
        })
        .await
    }

    async fn queue_head(&self, delivery: &Delivery) -> Result<Option<Queued>, Error> {
        self.call(|state| state.head_of(delivery)).await
    }

    /// The steps of [`Bus::dequeue`](crate::bus::Bus::dequeue).
    async fn dequeue(&self, delivery: &Delivery, redelivery: Redelivery) -> Result<(), Error> {
        self.note("dequeue", delivery);
        let mut next = self.queue_head(delivery).await?;
        let was_head = next
            .as_ref()
            .is_some_and(|head| head.delivery.event_id == delivery.event_id);
        if let (Some(head), true) = (&next, was_head) {
            let sequence = head.stored_as.sequence;
            self.call(|state| state.queues.remove(&sequence)).await?;
            next = self.queue_head(delivery).await?;
        } else if next.is_some() {
            self.call(|state| {
                let entry = state.entry_of(delivery);
                entry.map(|sequence| state.queues.remove(&sequence))
            })
            .await?;
        }
        match next {
            Some(next) if was_head || redelivery == Redelivery::Again => {
                self.dispatch_head(&next).await
            }
            _ => Ok(()),
        }
    }

    async fn dispatch_head(&self, head: &Queued) -> Result<(), Error> {
        self.note("dispatch", &head.delivery);
        let dispatched = self
            .call(|state| {
                if state.dispatched.insert(head.stored_as.sequence) {
                    state.publish_retry(head.delivery.clone(), true);
                }
            })
            .await;
        self.changed.notify_waiters();
        dispatched
    }

    async fn is_parked(&self, delivery: &Delivery) -> Result<bool, Error> {
        self.call(|state| state.parked.contains_key(&delivery.event_id))
            .await
    }
}
