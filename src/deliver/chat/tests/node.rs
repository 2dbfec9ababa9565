//! The fake of a node: it takes messages through the same steps as `deliver/process.rs`.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::world::{Copy, World, place};
use crate::{
    bus::{Error, Redelivery, Work},
    deliver::chat::{ChatOrder, DeliveryOrigin, InFlightSlot, NotNow, Place, Ticket},
};

/// As in `deliver/settle.rs`, and what the server waits for an acknowledgement.
const REDELIVERY_PAUSE: Duration = Duration::from_secs(5);
const NO_ROOM_PAUSE: Duration = Duration::from_secs(30);
const ACK_WAIT: Duration = Duration::from_secs(60);
const RETRY_PAUSE: Duration = Duration::from_secs(3);

enum Settle {
    Ack,
    HandOver,
    Later(Duration),
}

#[derive(Clone)]
pub(super) struct Node {
    world: Arc<World>,
    order: Arc<ChatOrder>,
    cancel: CancellationToken,
    tasks: TaskTracker,
    handover: Arc<Mutex<Vec<(Work, Copy)>>>,
}

impl Node {
    /// Starts the loops of the partition.
    pub(super) fn start(world: &Arc<World>) -> Self {
        let node = Self {
            world: Arc::clone(world),
            order: Arc::default(),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
            handover: Arc::default(),
        };
        for work in [Work::Message, Work::Retry] {
            node.tasks.spawn(node.clone().pull(work));
        }
        node
    }

    /// Ends the loops. What they have not attempted is redelivered in its order.
    pub(super) async fn hand_over(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        // It is asked again, as in `deliver/engine.rs`.
        while self.order.enqueue_all_returned(&*self.world).await.is_err() {}
        let mut copies = self.handover.lock().unwrap_or_else(PoisonError::into_inner);
        copies.sort_by_key(|(_, copy)| copy.sequence);
        for (work, copy) in copies.drain(..) {
            self.world.note("hand over", &copy.delivery);
            self.world.give_back(work, copy);
        }
    }

    async fn pull(self, work: Work) {
        loop {
            let copy = tokio::select! {
                biased;
                () = self.cancel.cancelled() => return,
                copy = self.world.next(work) => copy,
            };
            let chat_key = copy.delivery.chat_key.as_ref().expect("it has one");
            let ticket = self.order.ticket(copy.delivery.webhook_id, chat_key);
            self.tasks.spawn(self.clone().handle(work, copy, ticket));
            sleep(Duration::from_millis(self.world.random(30))).await;
        }
    }

    async fn handle(self, work: Work, copy: Copy, ticket: Ticket) {
        let settle = self.process(work, &copy, ticket).await;
        match settle {
            Settle::Ack => self.world.ack(),
            Settle::HandOver => self
                .handover
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push((work, copy)),
            Settle::Later(pause) => {
                self.world.note("later", &copy.delivery);
                let world = Arc::clone(&self.world);
                tokio::spawn(async move {
                    sleep(pause).await;
                    world.give_back(work, copy);
                });
            }
        }
    }

    async fn process(&self, work: Work, copy: &Copy, mut ticket: Ticket) -> Settle {
        let world = &*self.world;
        let delivery = &copy.delivery;
        let redelivery = copy.redelivery();
        world.note("begin", delivery);
        if redelivery == Redelivery::Again && world.is_recorded(delivery) {
            return Settle::Ack;
        }
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Settle::HandOver,
            _ = ticket.wait_for_earlier() => {}
        }
        let origin = DeliveryOrigin {
            redelivery,
            released_from_queue: work == Work::Retry && copy.from_queue,
        };
        let slot = match ticket.place(world, delivery, origin).await {
            Ok(Place::Go(slot)) => slot,
            Ok(Place::NotNow(NotNow::Queued | NotNow::Stale)) => return Settle::Ack,
            Ok(Place::NotNow(NotNow::InFlight)) => return Settle::Later(REDELIVERY_PAUSE),
            Ok(Place::NotNow(NotNow::NoRoom)) => {
                self.world.park(delivery.clone(), NO_ROOM_PAUSE);
                return Settle::Ack;
            }
            Err(_) => return Settle::Later(REDELIVERY_PAUSE),
        };
        let rest = async { self.with_slot(copy, slot).await };
        if world.happens(world.faults.tasks) {
            let until = Duration::from_millis(world.random(1_000));
            let ended = timeout(until, rest).await;
            return ended.map_or(Settle::Later(ACK_WAIT), |settle| {
                settle.unwrap_or(Settle::Later(REDELIVERY_PAUSE))
            });
        }
        rest.await.unwrap_or(Settle::Later(REDELIVERY_PAUSE))
    }

    async fn with_slot(&self, copy: &Copy, slot: InFlightSlot) -> Result<Settle, Error> {
        let world = &*self.world;
        let delivery = &copy.delivery;
        if world.happens(world.faults.postponed) {
            slot.later(world).await?;
            world.call_empty().await?;
            self.world.park(delivery.clone(), RETRY_PAUSE);
            return Ok(Settle::Ack);
        }
        tokio::select! {
            biased;
            () = self.cancel.cancelled() => {
                slot.abandon();
                return Ok(Settle::HandOver);
            }
            () = world.pause() => {}
        }
        let (chat, number) = place(delivery);
        world.note("attempt", delivery);
        let in_flight = world.begin_attempt(chat, number);
        world.pause().await;
        drop(in_flight);
        if world.end_attempt(delivery) {
            slot.later(world).await?;
            world.call_empty().await?;
            self.world.park(delivery.after_attempt(), RETRY_PAUSE);
            drop(slot);
        } else {
            if copy.redelivery() == Redelivery::Again {
                world.unpark(delivery);
            }
            slot.done(world, copy.redelivery()).await?;
        }
        world.call_empty().await?;
        world.record(delivery);
        Ok(Settle::Ack)
    }
}
