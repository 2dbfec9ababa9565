//! What one node knows of one chat.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Mutex as Gate, oneshot, watch},
    time::{Duration, Instant},
};

use super::queues::ChatQueues;
use crate::{
    bus::Error,
    model::{ChatKey, Delivery, EventId, WebhookId},
};

/// How long a message that was given back is waited for: its longest pause, and as long again.
const RETURNED_REMEMBERED_FOR: Duration = Duration::from_secs(120);

pub(super) type Key = (WebhookId, ChatKey);

/// One chat.
pub(super) struct Chat {
    pub(super) key: Key,
    /// Held while the queue in the stream is changed.
    pub(super) gate: Gate<()>,
    state: Mutex<ChatState>,
}

#[derive(Default)]
pub(super) struct ChatState {
    /// Told when the newest ticket has its place.
    pub(super) newest: Option<oneshot::Receiver<()>>,
    /// Tickets and slots that live.
    pub(super) users: usize,
    /// The number of the last slot that was given.
    last_slot: u64,
    pub(super) in_flight: Option<InFlight>,
    /// Given back and not in the queue, in their order. As many at most as a loop's consumer has
    /// out.
    pub(super) returned: VecDeque<(Instant, Delivery)>,
}

/// The message that is attempted now.
#[derive(Clone)]
pub(super) struct InFlight {
    /// The number of its slot.
    slot: u64,
    pub(super) delivery: Delivery,
    /// Whether it is the head of the queue in the stream.
    pub(super) in_queue: bool,
    pub(super) ended: watch::Sender<bool>,
}

impl ChatState {
    pub(super) fn forget_old(&mut self) {
        self.returned
            .retain(|(since, _)| since.elapsed() < RETURNED_REMEMBERED_FOR);
    }

    pub(super) fn remember_returned(&mut self, delivery: Delivery) {
        let is_known = |(_, returned): &(Instant, Delivery)| returned.event_id == delivery.event_id;
        if !self.returned.iter().any(is_known) {
            self.returned.push_back((Instant::now(), delivery));
        }
    }

    /// The first of those given back that was before this one.
    pub(super) fn returned_before(&mut self, event: EventId) -> Option<Delivery> {
        self.forget_old();
        let (_, first) = self.returned.front()?;
        if first.event_id != event {
            return Some(first.clone());
        }
        self.returned.pop_front();
        None
    }

    /// The first of those given back.
    fn first_returned(&mut self) -> Option<Delivery> {
        self.forget_old();
        self.returned.front().map(|(_, first)| first.clone())
    }

    /// The message's turn begins; the number of its slot.
    pub(super) fn begin(&mut self, delivery: Delivery, in_queue: bool) -> u64 {
        self.last_slot += 1;
        self.in_flight = Some(InFlight {
            slot: self.last_slot,
            delivery,
            in_queue,
            ended: watch::Sender::new(false),
        });
        self.last_slot
    }

    /// The message in flight, if it has this slot.
    pub(super) fn in_slot(&mut self, slot: u64) -> Option<&mut InFlight> {
        self.in_flight.as_mut().filter(|now| now.slot == slot)
    }

    /// The turn of this slot's message ends, unless it has ended already.
    pub(super) fn end(&mut self, slot: u64) -> Option<InFlight> {
        self.in_slot(slot)?;
        let ended = self.in_flight.take()?;
        ended.ended.send_replace(true);
        Some(ended)
    }
}

impl Chat {
    pub(super) fn new(key: Key) -> Self {
        Self {
            key,
            gate: Gate::default(),
            state: Mutex::default(),
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, ChatState> {
        // Nothing here leaves it half written.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts the message in flight into the queue, if there is one and it is not in it. To be called
    /// with the gate held.
    pub(super) async fn enqueue_in_flight(&self, queues: &impl ChatQueues) -> Result<(), Error> {
        let in_flight = self.state().in_flight.clone();
        if let Some(now) = in_flight.filter(|now| !now.in_queue) {
            match queues.enqueue(&now.delivery).await {
                // It is given up, so no other message waits behind it.
                Err(Error::TooLarge) => {
                    self.state().end(now.slot);
                    return Ok(());
                }
                joined => joined?,
            }
            if let Some(now) = self.state().in_slot(now.slot) {
                now.in_queue = true;
            }
        }
        Ok(())
    }

    /// Puts all that was given back into the queue. To be called with the gate held.
    pub(super) async fn enqueue_returned(&self, queues: &impl ChatQueues) -> Result<(), Error> {
        self.enqueue_each(queues, ChatState::first_returned).await
    }

    /// Puts those given back into the queue for as long as `next` names the first of them. To be
    /// called with the gate held.
    pub(super) async fn enqueue_each(
        &self,
        queues: &impl ChatQueues,
        mut next: impl FnMut(&mut ChatState) -> Option<Delivery>,
    ) -> Result<(), Error> {
        loop {
            let returned = next(&mut self.state());
            let Some(returned) = returned else {
                return Ok(());
            };
            match self.enqueue_behind(queues, &returned).await {
                // It is given up when it comes again.
                Ok(()) | Err(Error::TooLarge) => {}
                Err(error) => return Err(error),
            }
            self.state().returned.pop_front();
        }
    }

    /// Puts a message behind those before it. To be called with the gate held.
    pub(super) async fn enqueue_behind(
        &self,
        queues: &impl ChatQueues,
        delivery: &Delivery,
    ) -> Result<(), Error> {
        self.enqueue_in_flight(queues).await?;
        queues.enqueue(delivery).await
    }
}
