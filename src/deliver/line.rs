//! One message of a chat after the other.
//!
//! Where a webhook asks for it, a message is attempted only when the one before it in its chat is delivered or given up.
//! While all goes well that costs a look at an empty line. A message that cannot be delivered now joins the chat's line in
//! the stream as its first, and is parked as ever; those that come after it join behind. When the first is done with, the
//! next is sent on its way.
//!
//! A loop takes a [`Ticket`] for each message in the order in which they come, before their tasks begin. A ticket waits
//! for the one before it to have its place, and that one waits for no longer than [`PATIENCE`] for the message under way:
//! then both join the line. So a chat never fills a loop, however slow its endpoint is.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Mutex as Gate, oneshot, watch},
    time::{Duration, Instant, timeout_at},
};

use crate::{
    bus::{Bus, Error},
    model::{Delivery, WebhookId},
};

/// How long a message waits for the one before it before both join the line.
const PATIENCE: Duration = Duration::from_secs(1);

type Key = (WebhookId, String);

/// The chats of a partition with messages under way.
#[derive(Default)]
pub(super) struct Lines(Mutex<HashMap<Key, Arc<Chat>>>);

/// One chat.
struct Chat {
    lines: Arc<Lines>,
    key: Key,
    /// Held while the line in the stream is changed.
    gate: Gate<()>,
    now: Mutex<Now>,
}

#[derive(Default)]
struct Now {
    /// Told when the newest ticket has its place.
    last: Option<oneshot::Receiver<()>>,
    /// Tickets and heads that live.
    users: usize,
    head: Option<UnderWay>,
}

/// The message that is attempted now.
#[derive(Clone)]
struct UnderWay {
    delivery: Delivery,
    /// Whether it is the first of the line in the stream.
    in_line: bool,
    over: watch::Sender<bool>,
}

/// Keeps a chat in memory.
struct User(Arc<Chat>);

/// A message's turn in its chat.
pub(super) struct Ticket {
    user: User,
    before: Option<oneshot::Receiver<()>>,
    placed: Option<oneshot::Sender<()>>,
    deadline: Instant,
}

/// What a ticket came to.
pub(super) enum Place {
    /// It is this message's turn.
    Go(Head),
    /// It waits in the line.
    InLine,
}

/// The right to be attempted; nothing else of the chat is meanwhile.
pub(super) struct Head(User);

impl Lines {
    pub(super) fn ticket(self: &Arc<Self>, webhook: WebhookId, chat: &str) -> Ticket {
        let key = (webhook, chat.to_owned());
        let mut chats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let chat = chats.entry(key.clone()).or_insert_with(|| {
            Arc::new(Chat { lines: Arc::clone(self), key, gate: Gate::default(), now: Mutex::default() })
        });
        let (placed, last) = oneshot::channel();
        let mut now = chat.now();
        now.users += 1;
        let before = now.last.replace(last);
        drop(now);
        let user = User(Arc::clone(chat));
        Ticket { user, before, placed: Some(placed), deadline: Instant::now() + PATIENCE }
    }
}

impl Chat {
    fn now(&self) -> MutexGuard<'_, Now> {
        // Nothing here leaves it half written.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut chats = self.0.lines.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = self.0.now();
        now.users -= 1;
        if now.users == 0 {
            chats.remove(&self.0.key);
        }
    }
}

impl Ticket {
    /// Waits for this message's turn, or joins the line.
    pub(super) async fn place(mut self, bus: &Bus, delivery: &Delivery) -> Result<Place, Error> {
        if let Some(before) = self.before.take() {
            // An error, too, means that it is settled.
            let _ = before.await;
        }
        let chat = Arc::clone(&self.user.0);
        let under_way = chat.now().head.clone();
        if let Some(head) = under_way.filter(|head| !head.in_line) {
            let _ = timeout_at(self.deadline, head.over.subscribe().wait_for(|over| *over)).await;
        }
        let gate = chat.gate.lock().await;
        let under_way = chat.now().head.clone();
        if let Some(head) = under_way {
            if !head.in_line {
                bus.join_line(&head.delivery).await?;
                if let Some(head) = &mut chat.now().head {
                    head.in_line = true;
                }
            }
            bus.join_line(delivery).await?;
            return Ok(Place::InLine);
        }
        let first = bus.first_in_line(delivery, 0).await?;
        let in_line = match first {
            None => false,
            Some(first) if first.delivery.event_id == delivery.event_id => true,
            Some(_) => {
                bus.join_line(delivery).await?;
                return Ok(Place::InLine);
            }
        };
        let over = watch::Sender::new(false);
        chat.now().head = Some(UnderWay { delivery: delivery.clone(), in_line, over });
        drop(gate);
        if let Some(placed) = self.placed.take() {
            let _ = placed.send(());
        }
        Ok(Place::Go(Head(self.user)))
    }
}

impl Head {
    /// It will be attempted later: nothing of its chat is before.
    pub(super) async fn later(&self, bus: &Bus) -> Result<(), Error> {
        let _gate = self.0.0.gate.lock().await;
        let head = self.0.0.now().head.clone();
        if let Some(head) = head.filter(|head| !head.in_line) {
            bus.join_line(&head.delivery).await?;
        }
        Ok(())
    }

    /// It is delivered or given up: the next may go.
    pub(super) async fn done(self, bus: &Bus) -> Result<(), Error> {
        let _gate = self.0.0.gate.lock().await;
        let head = self.0.0.now().head.clone();
        if let Some(head) = head.filter(|head| head.in_line)
            && let Some(first) = bus.first_in_line(&head.delivery, 0).await?
            && first.delivery.event_id == head.delivery.event_id
        {
            bus.leave_line(&first).await?;
        }
        Ok(())
    }
}

impl Drop for Head {
    fn drop(&mut self) {
        if let Some(head) = self.0.0.now().head.take() {
            head.over.send_replace(true);
        }
    }
}
