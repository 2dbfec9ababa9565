//! One message of a chat after the other.
//!
//! Where a webhook asks for it, a message is attempted only when the one before it in its chat is
//! delivered or given up. While all goes well that costs a look at an empty line. A message that
//! cannot be delivered now joins the chat's line in the stream as its first, and is parked as ever;
//! those that come after it join behind. Whoever is done with the first takes it out and sends the
//! next on its way (see [`Bus::dequeue`] for what holds when that is interrupted).
//!
//! A loop takes a [`Ticket`] for each message in the order in which they come, before their tasks
//! begin. A ticket waits for the one before it to have its place, and that one waits for no longer
//! than [`PATIENCE`] for the message under way: then both join the line. So a chat never fills a
//! loop, however slow its endpoint is.
//!
//! A message that is given back because the bus fails comes again in a while. Until then the chat
//! remembers it: the next one puts it into the line first, so it is not overtaken.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{Mutex as Gate, oneshot, watch},
    time::{Duration, Instant, timeout_at},
};

use crate::{
    bus::{Bus, Error, Incoming, Work},
    model::{Delivery, EventId, WebhookId},
    telemetry,
};

/// How long a message waits for the one before it before both join the line.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long a message that was given back is waited for: its longest pause, and as long again.
const RETURNED_REMEMBERED_FOR: Duration = Duration::from_secs(120);

type Key = (WebhookId, String);

/// The chats of a partition with messages under way, or given back.
#[derive(Default)]
pub(in crate::deliver) struct ChatOrder(Mutex<HashMap<Key, Arc<Chat>>>);

/// One chat.
struct Chat {
    lines: Arc<ChatOrder>,
    key: Key,
    /// Held while the line in the stream is changed.
    gate: Gate<()>,
    now: Mutex<ChatState>,
}

#[derive(Default)]
struct ChatState {
    /// Told when the newest ticket has its place.
    last: Option<oneshot::Receiver<()>>,
    /// Tickets and heads that live.
    users: usize,
    head: Option<UnderWay>,
    /// Given back and not in line, in their order. As many at most as a loop's consumer has out.
    left: VecDeque<(Instant, Delivery)>,
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
struct ChatUser(Arc<Chat>);

/// A message's turn in its chat.
pub(in crate::deliver) struct Ticket {
    user: ChatUser,
    before: Option<oneshot::Receiver<()>>,
    placed: Option<oneshot::Sender<()>>,
    deadline: Instant,
}

/// How a message came here.
#[derive(Clone, Copy)]
pub(in crate::deliver) struct DeliveryOrigin {
    /// It was handed out before: the node that had it may have died over it.
    pub(in crate::deliver) redelivered: bool,
    /// Its line sent it, see [`Bus::dispatch_head`].
    pub(in crate::deliver) released_from_queue: bool,
}

/// What a ticket came to.
pub(in crate::deliver) enum Place {
    /// It is this message's turn.
    Go(InFlightSlot),
    /// It waits in the line.
    Queued,
    /// A copy of what is done with, or of what waits for its time.
    Stale,
    /// It is being attempted.
    UnderWay,
    /// There is no room in the stream for those who wait.
    NoRoom,
}

/// The right to be attempted; nothing else of the chat is meanwhile.
pub(in crate::deliver) struct InFlightSlot(ChatUser);

impl DeliveryOrigin {
    pub(in crate::deliver) fn new(work: Work, incoming: &Incoming) -> Self {
        Self {
            redelivered: incoming.deliveries > 1,
            released_from_queue: work == Work::Retry && incoming.is_from_chat_queue(),
        }
    }
}

impl ChatOrder {
    pub(in crate::deliver) fn ticket(self: &Arc<Self>, webhook: WebhookId, chat: &str) -> Ticket {
        let key = (webhook, chat.to_owned());
        let mut chats = self.chats();
        let chat = chats.entry(key.clone()).or_insert_with(|| {
            Arc::new(Chat {
                lines: Arc::clone(self),
                key,
                gate: Gate::default(),
                now: Mutex::default(),
            })
        });
        let (placed, last) = oneshot::channel();
        let mut now = chat.now();
        now.users += 1;
        let before = now.last.replace(last);
        drop(now);
        let user = ChatUser(Arc::clone(chat));
        Ticket {
            user,
            before,
            placed: Some(placed),
            deadline: Instant::now() + PATIENCE,
        }
    }

    /// Whether messages of a chat are under way here.
    pub(in crate::deliver) fn is_busy(&self, of: &Delivery) -> bool {
        self.chats()
            .get(&(of.webhook_id, of.chat.clone()))
            .is_some_and(|chat| chat.now().users > 0)
    }

    /// Forgets chats that nothing came back to.
    pub(in crate::deliver) fn forget_old(&self) {
        self.chats().retain(|_, chat| {
            let mut now = chat.now();
            now.forget_old();
            now.users > 0 || !now.left.is_empty()
        });
    }

    fn chats(&self) -> MutexGuard<'_, HashMap<Key, Arc<Chat>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ChatState {
    fn forget_old(&mut self) {
        self.left
            .retain(|(since, _)| since.elapsed() < RETURNED_REMEMBERED_FOR);
    }

    fn remember_returned(&mut self, delivery: Delivery) {
        if self
            .left
            .iter()
            .all(|(_, left)| left.event_id != delivery.event_id)
        {
            self.left.push_back((Instant::now(), delivery));
        }
    }

    /// The first of those given back that was before this one.
    fn returned_before(&mut self, event: EventId) -> Option<Delivery> {
        self.forget_old();
        let (_, first) = self.left.front()?;
        if first.event_id != event {
            return Some(first.clone());
        }
        self.left.pop_front();
        None
    }
}

impl Chat {
    fn now(&self) -> MutexGuard<'_, ChatState> {
        // Nothing here leaves it half written.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Nothing is under way any more.
    fn over(&self) {
        if let Some(head) = self.now().head.take() {
            head.over.send_replace(true);
        }
    }

    /// Puts the message under way into the line, if there is one and it is not in it.
    async fn enqueue_in_flight(&self, bus: &Bus) -> Result<(), Error> {
        let head = self.now().head.clone();
        if let Some(head) = head.filter(|head| !head.in_line) {
            bus.enqueue(&head.delivery).await?;
            if let Some(head) = &mut self.now().head {
                head.in_line = true;
            }
        }
        Ok(())
    }

    /// Puts a message behind those before it. To be called with the gate held.
    async fn enqueue_behind(&self, bus: &Bus, delivery: &Delivery) -> Result<(), Error> {
        self.enqueue_in_flight(bus).await?;
        bus.enqueue(delivery).await
    }
}

impl Drop for ChatUser {
    fn drop(&mut self) {
        let mut chats = self.0.lines.chats();
        let mut now = self.0.now();
        now.users -= 1;
        if now.users == 0 && now.left.is_empty() {
            chats.remove(&self.0.key);
        }
    }
}

impl Ticket {
    /// Waits for this message's turn, or joins the line.
    pub(in crate::deliver) async fn place(
        mut self,
        bus: &Bus,
        delivery: &Delivery,
        origin: DeliveryOrigin,
    ) -> Result<Place, Error> {
        if let Some(before) = self.before.take() {
            // An error, too, means that it is settled.
            let _ = before.await;
        }
        let chat = Arc::clone(&self.user.0);
        let under_way = chat.now().head.clone();
        if let Some(head) = under_way.filter(|head| !head.in_line) {
            let _ = timeout_at(self.deadline, head.over.subscribe().wait_for(|over| *over)).await;
        }
        let _gate = chat.gate.lock().await;
        let in_line = match find_position(&chat, bus, delivery, origin).await {
            Ok(Position::First { in_line }) => in_line,
            Ok(Position::Other(place)) => return Ok(place),
            Err(Error::Full) => return Ok(Place::NoRoom),
            Err(error) => {
                chat.now().remember_returned(delivery.clone());
                return Err(error);
            }
        };
        let over = watch::Sender::new(false);
        chat.now().head = Some(UnderWay {
            delivery: delivery.clone(),
            in_line,
            over,
        });
        if let Some(placed) = self.placed.take() {
            let _ = placed.send(());
        }
        Ok(Place::Go(InFlightSlot(self.user)))
    }
}

enum Position {
    First { in_line: bool },
    Other(Place),
}

/// Where a message stands in its chat; it joins the line if it is not the first. To be called with
/// the gate held.
async fn find_position(
    chat: &Chat,
    bus: &Bus,
    delivery: &Delivery,
    origin: DeliveryOrigin,
) -> Result<Position, Error> {
    loop {
        let left = chat.now().returned_before(delivery.event_id);
        let Some(left) = left else { break };
        chat.enqueue_behind(bus, &left).await?;
        chat.now().left.pop_front();
    }
    // What a line sent was its first. If it is not, it is done with; handed out again, it may not
    // be on record.
    let is_stale = origin.released_from_queue && !origin.redelivered;
    let head = chat.now().head.clone();
    if let Some(head) = &head {
        if head.delivery.event_id == delivery.event_id {
            // Handed out again it may be the same message, which settling this one would settle,
            // too.
            return Ok(Position::Other(if origin.redelivered {
                Place::UnderWay
            } else {
                Place::Stale
            }));
        }
        if !is_stale {
            chat.enqueue_behind(bus, delivery).await?;
            return Ok(Position::Other(Place::Queued));
        }
    }
    let mut first = bus.queue_head(delivery).await?;
    if !is_stale
        && first
            .as_ref()
            .is_some_and(|first| first.delivery.event_id != delivery.event_id)
    {
        bus.enqueue(delivery).await?;
        // It may have left before this one joined, and seen nobody.
        first = bus.queue_head(delivery).await?;
    }
    let Some(first) = first else {
        return Ok(if is_stale {
            Position::Other(Place::Stale)
        } else {
            Position::First { in_line: false }
        });
    };
    let is_parked = async || {
        bus.parked(first.delivery.client_id, first.delivery.event_id)
            .await
    };
    if first.delivery.event_id == delivery.event_id {
        // A fired schedule is gone. One that is there was made after this copy, which has done its
        // part.
        if (origin.redelivered || origin.released_from_queue) && is_parked().await?.is_some() {
            return Ok(Position::Other(Place::Stale));
        }
        return Ok(if head.is_some() {
            Position::Other(Place::UnderWay)
        } else {
            Position::First { in_line: true }
        });
    }
    // Whoever had this one may have died when it had left the line and had not sent the next.
    if origin.redelivered && is_parked().await?.is_none() {
        bus.dispatch_head(&first).await?;
    }
    Ok(Position::Other(if is_stale {
        Place::Stale
    } else {
        Place::Queued
    }))
}

impl InFlightSlot {
    /// It will be attempted later: nothing of its chat is before. Without room for that, its chat
    /// goes on.
    pub(in crate::deliver) async fn later(&self, bus: &Bus) -> Result<(), Error> {
        let chat = &self.0.0;
        let _gate = chat.gate.lock().await;
        match chat.enqueue_in_flight(bus).await {
            Err(Error::Full) => {
                telemetry::error("deliver", "line_full");
                chat.over();
                Ok(())
            }
            joined => joined,
        }
    }

    /// It is delivered, held or given up: the next may go. `again`: see [`Bus::dequeue`].
    pub(in crate::deliver) async fn done(self, bus: &Bus, again: bool) -> Result<(), Error> {
        let chat = &self.0.0;
        let _gate = chat.gate.lock().await;
        let head = chat.now().head.clone();
        if let Some(head) = head.filter(|head| head.in_line) {
            bus.dequeue(&head.delivery, again).await?;
        }
        // Before the gate opens: nobody shall join behind what is over.
        chat.over();
        Ok(())
    }

    /// It was handed out elsewhere, and is theirs: nobody here shall wait for it.
    pub(in crate::deliver) fn abandon(self) {
        self.0.0.over();
    }
}

impl Drop for InFlightSlot {
    /// Neither done nor in line: it comes again.
    fn drop(&mut self) {
        let mut now = self.0.0.now();
        if let Some(head) = now.head.take() {
            head.over.send_replace(true);
            if !head.in_line {
                now.remember_returned(head.delivery);
            }
        }
    }
}
