//! Whose turn it is in a chat, on this node.
//!
//! A loop takes a [`Ticket`] for each message in the order in which they come, before their tasks
//! begin. A ticket waits until the one before it has its place. That one waits for the message in
//! flight, but no longer than [`WAIT_FOR_EARLIER`]: then both join the chat's queue. So a chat
//! never fills a loop, however slow its endpoint is.
//!
//! A message that is given back because the bus fails comes again in a while. Until then the chat
//! remembers it: the next message puts it into the queue first, so it is not overtaken.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::oneshot,
    time::{Duration, Instant, timeout_at},
};

use super::{
    position::{DeliveryOrigin, NotNow, Position, find_position},
    queues::ChatQueues,
    state::{Chat, Key},
};
use crate::{
    bus::{Error, Redelivery},
    model::{ChatKey, Delivery, WebhookId},
    telemetry,
};

/// How long a message waits for the one before it before both join the queue.
const WAIT_FOR_EARLIER: Duration = Duration::from_secs(1);
/// The chats of a partition with messages in flight, or given back.
#[derive(Default)]
pub(in crate::deliver) struct ChatOrder(Mutex<HashMap<Key, Arc<Chat>>>);

/// Keeps a chat in memory.
struct ChatUser {
    order: Arc<ChatOrder>,
    chat: Arc<Chat>,
}

/// A message's turn in its chat.
pub(in crate::deliver) struct Ticket {
    user: ChatUser,
    earlier: Option<oneshot::Receiver<()>>,
    placed: Option<oneshot::Sender<()>>,
    deadline: Instant,
}

/// What a ticket came to.
pub(in crate::deliver) enum Place {
    /// It is this message's turn.
    Go(InFlightSlot),
    /// It is not.
    NotNow(NotNow),
}

/// Whether a message had to wait for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum Waited {
    No,
    ForEarlier,
}

/// The right to be attempted. Nothing else of the chat is attempted meanwhile.
pub(in crate::deliver) struct InFlightSlot {
    user: ChatUser,
    /// Tells it from slots of other messages: it may outlive its turn, see [`Self::later`].
    number: u64,
}

impl ChatOrder {
    /// A turn behind those that have tickets of this chat already.
    pub(in crate::deliver) fn ticket(
        self: &Arc<Self>,
        webhook: WebhookId,
        chat_key: &ChatKey,
    ) -> Ticket {
        let key = (webhook, chat_key.clone());
        let mut chats = self.chats();
        let chat = chats
            .entry(key.clone())
            .or_insert_with(|| Arc::new(Chat::new(key)));
        let (placed, newest) = oneshot::channel();
        let mut state = chat.state();
        state.users += 1;
        let earlier = state.newest.replace(newest);
        drop(state);
        Ticket {
            user: ChatUser {
                order: Arc::clone(self),
                chat: Arc::clone(chat),
            },
            earlier,
            placed: Some(placed),
            deadline: Instant::now() + WAIT_FOR_EARLIER,
        }
    }

    /// Whether messages of a delivery's chat are on their way here.
    pub(in crate::deliver) fn is_busy(&self, of: &Delivery) -> bool {
        self.chat(of).is_some_and(|chat| chat.state().users > 0)
    }

    /// Puts all that was given back and did not come again into the queues of its chats.
    ///
    /// # Errors
    /// When the bus fails; the other chats are done all the same.
    pub(in crate::deliver) async fn enqueue_all_returned(
        &self,
        queues: &impl ChatQueues,
    ) -> Result<(), Error> {
        let chats: Vec<_> = self.chats().values().cloned().collect();
        let mut outcome = Ok(());
        for chat in chats {
            let _gate = chat.gate.lock().await;
            outcome = chat.enqueue_returned(queues).await.and(outcome);
        }
        outcome
    }

    fn chat(&self, of: &Delivery) -> Option<Arc<Chat>> {
        let key = (of.webhook_id, of.chat_key.clone()?);
        self.chats().get(&key).cloned()
    }

    /// Forgets chats whose returned messages did not come again.
    pub(in crate::deliver) fn forget_old(&self) {
        self.chats().retain(|_, chat| {
            let mut state = chat.state();
            state.forget_old();
            state.users > 0 || !state.returned.is_empty()
        });
    }

    fn chats(&self) -> MutexGuard<'_, HashMap<Key, Arc<Chat>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ChatUser {
    fn drop(&mut self) {
        let mut chats = self.order.chats();
        let mut state = self.chat.state();
        state.users -= 1;
        if state.users == 0 && state.returned.is_empty() {
            chats.remove(&self.chat.key);
        }
    }
}

impl Ticket {
    /// Lets it join the queue at once unless its turn has come.
    pub(in crate::deliver) fn without_waiting(mut self) -> Self {
        self.deadline = Instant::now();
        self
    }

    /// Takes this message's turn, or joins the queue. To be called once it has waited, see
    /// [`Self::wait_for_earlier`].
    pub(in crate::deliver) async fn place(
        mut self,
        queues: &impl ChatQueues,
        delivery: &Delivery,
        origin: DeliveryOrigin,
    ) -> Result<Place, Error> {
        let chat = Arc::clone(&self.user.chat);
        let _gate = chat.gate.lock().await;
        let in_queue = match find_position(&chat, queues, delivery, origin).await {
            Ok(Position::First { in_queue }) => in_queue,
            Ok(Position::NotFirst(why)) => return Ok(Place::NotNow(why)),
            Err(Error::Full) => return Ok(Place::NotNow(NotNow::NoRoom)),
            // It is given up, and does not come again.
            Err(Error::TooLarge) => return Err(Error::TooLarge),
            Err(error) => {
                chat.state().remember_returned(delivery.clone());
                return Err(error);
            }
        };
        let number = chat.state().begin(delivery.clone(), in_queue);
        if let Some(placed) = self.placed.take() {
            let _ = placed.send(());
        }
        let slot = InFlightSlot {
            user: self.user,
            number,
        };
        Ok(Place::Go(slot))
    }

    /// Waits until the ticket before has its place, and then a while for the message in flight.
    pub(in crate::deliver) async fn wait_for_earlier(&mut self) -> Waited {
        let mut waited = Waited::No;
        if let Some(mut earlier) = self.earlier.take()
            && matches!(earlier.try_recv(), Err(oneshot::error::TryRecvError::Empty))
        {
            waited = Waited::ForEarlier;
            // An error, too, means that it has its place.
            let _ = earlier.await;
        }
        let in_flight = self.user.chat.state().in_flight.clone();
        if let Some(now) = in_flight.filter(|now| !now.in_queue) {
            waited = Waited::ForEarlier;
            let mut ended = now.ended.subscribe();
            let _ = timeout_at(self.deadline, ended.wait_for(|ended| *ended)).await;
        }
        waited
    }
}

impl InFlightSlot {
    /// It will be attempted later, and nothing of its chat before it. Without room in the stream
    /// for that, its turn ends, and its chat goes on.
    pub(in crate::deliver) async fn later(&self, queues: &impl ChatQueues) -> Result<(), Error> {
        let chat = &self.user.chat;
        let _gate = chat.gate.lock().await;
        match chat.enqueue_in_flight(queues).await {
            Err(Error::Full) => {
                telemetry::error("deliver", "line_full");
                chat.state().end(self.number);
                Ok(())
            }
            joined => joined,
        }
    }

    /// It is delivered, held or given up: the next may go.
    pub(in crate::deliver) async fn done(
        self,
        queues: &impl ChatQueues,
        redelivery: Redelivery,
    ) -> Result<(), Error> {
        let chat = &self.user.chat;
        let _gate = chat.gate.lock().await;
        let in_flight = chat.state().in_slot(self.number).cloned();
        if let Some(now) = in_flight.filter(|now| now.in_queue) {
            queues.dequeue(&now.delivery, redelivery).await?;
        }
        // Before the gate opens: nobody shall join behind what has ended.
        chat.state().end(self.number);
        Ok(())
    }

    /// It is another node's: nobody here shall wait for it.
    pub(in crate::deliver) fn abandon(self) {
        self.user.chat.state().end(self.number);
    }
}

impl Drop for InFlightSlot {
    /// Neither done nor in the queue: it comes again.
    fn drop(&mut self) {
        let mut state = self.user.chat.state();
        if let Some(ended) = state.end(self.number)
            && !ended.in_queue
        {
            state.remember_returned(ended.delivery);
        }
    }
}
