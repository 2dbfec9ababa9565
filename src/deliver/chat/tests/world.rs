//! The fake of the server: the streams of messages and retries, the chat queues, what is parked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{sync::Notify, time::sleep};
use uuid::Uuid;

use super::Faults;
use crate::{
    bus::{Error, Redelivery, Work},
    model::{Delivery, EventId, Kind, Priority, Timestamp, WebhookId},
};

pub(super) const CHATS: usize = 2;
/// Messages of each chat.
pub(super) const MESSAGES: usize = 5;
/// Attempts of one message before it is given up.
const ATTEMPTS_MAX: u16 = 3;
/// Steps that a report shows.
const STEPS_SHOWN: usize = 80;

/// One copy of a message in a stream.
#[derive(Debug, Clone)]
pub(super) struct Copy {
    pub(super) sequence: u64,
    pub(super) delivery: Delivery,
    pub(super) deliveries: u64,
    pub(super) from_queue: bool,
}

impl Copy {
    pub(super) fn redelivery(&self) -> Redelivery {
        if self.deliveries > 1 {
            Redelivery::Again
        } else {
            Redelivery::First
        }
    }
}

/// One stream with its consumer.
#[derive(Default)]
struct Stream {
    new: Vec<Copy>,
    /// To be redelivered, before new ones.
    again: Vec<Copy>,
}

pub(super) struct State {
    random: u64,
    pub(super) last_sequence: u64,
    messages: Stream,
    retries: Stream,
    pub(super) queues: BTreeMap<u64, Delivery>,
    /// With the number of its schedule: parking again replaces it.
    pub(super) parked: BTreeMap<EventId, (u64, Delivery)>,
    pub(super) dispatched: BTreeSet<u64>,
    recorded: BTreeSet<(EventId, u16)>,
    in_flight: [usize; CHATS],
    is_settled: [[bool; MESSAGES]; CHATS],
    /// Copies that are neither acknowledged nor parked.
    open: usize,
    steps: Vec<String>,
    wrong: Vec<String>,
}

pub(super) struct World {
    pub(super) faults: Faults,
    state: Mutex<State>,
    pub(super) changed: Notify,
}

/// Counts a request as in flight.
pub(super) struct InFlight<'a>(&'a World, usize);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.state().in_flight[self.1] -= 1;
    }
}

/// Chat and number of a delivery's message.
pub(super) fn place(delivery: &Delivery) -> (usize, usize) {
    let id = usize::try_from(delivery.event_id.0.as_u128()).expect("a small number");
    (id / 100, id % 100)
}

fn delivery(chat: usize, number: usize) -> Delivery {
    Delivery {
        event_id: EventId(Uuid::from_u128((chat * 100 + number) as u128)),
        webhook_id: WebhookId(Uuid::nil()),
        client_id: 1.try_into().expect("in range"),
        phone: "4915112345678".parse().expect("valid"),
        message_id: format!("M{number}").parse().expect("valid"),
        kind: Kind::Text,
        created_at: Timestamp::EPOCH,
        body: Bytes::new(),
        attempt_count: 0,
        attempts_this_round: 0,
        priority: Priority::Normal,
        chat_key: format!("chat{chat}").try_into().ok(),
    }
}

impl World {
    pub(super) fn new(seed: u64, faults: Faults) -> Self {
        let mut messages = Stream::default();
        let mut last_sequence = 0;
        for number in 0..MESSAGES {
            for chat in 0..CHATS {
                last_sequence += 1;
                messages.new.push(Copy {
                    sequence: last_sequence,
                    delivery: delivery(chat, number),
                    deliveries: 0,
                    from_queue: false,
                });
            }
        }
        let state = State {
            random: seed,
            last_sequence,
            open: messages.new.len(),
            messages,
            retries: Stream::default(),
            queues: BTreeMap::new(),
            parked: BTreeMap::new(),
            dispatched: BTreeSet::new(),
            recorded: BTreeSet::new(),
            in_flight: [0; CHATS],
            is_settled: [[false; MESSAGES]; CHATS],
            steps: Vec::new(),
            wrong: Vec::new(),
        };
        Self {
            faults,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, step: &str, delivery: &Delivery) {
        let (chat, number) = place(delivery);
        self.state().steps.push(format!("{step} {chat}/{number}"));
    }

    /// A number below this one, as the seed says (SplitMix64).
    pub(super) fn random(&self, below: u64) -> u64 {
        let mut state = self.state();
        state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    pub(super) fn happens(&self, percent: u64) -> bool {
        self.random(100) < percent
    }

    /// A step takes no time, or some, or now and then longer than others wait for it.
    pub(super) async fn pause(&self) {
        let millis = match self.random(8) {
            0 => 0,
            1..=6 => self.random(20),
            _ => self.random(600),
        };
        sleep(Duration::from_millis(millis)).await;
    }

    pub(super) async fn pause_until_handover(&self) {
        sleep(Duration::from_millis(self.random(12_000))).await;
    }

    /// Hands out the next copy of a stream.
    fn hand_out(&self, work: Work) -> Option<Copy> {
        let mut state = self.state();
        let stream = state.stream(work);
        let from = [&mut stream.again, &mut stream.new];
        let mut copy = from
            .into_iter()
            .find(|copies| !copies.is_empty())?
            .remove(0);
        copy.deliveries += 1;
        Some(copy)
    }

    /// A copy is to be redelivered.
    pub(super) fn give_back(&self, work: Work, copy: Copy) {
        self.state().stream(work).again.push(copy);
        self.changed.notify_waiters();
    }

    pub(super) fn ack(&self) {
        self.state().open -= 1;
        self.changed.notify_waiters();
    }

    /// The next copy of a stream, once there is one.
    pub(super) async fn next(&self, work: Work) -> Copy {
        loop {
            let changed = self.changed.notified();
            if let Some(copy) = self.hand_out(work) {
                return copy;
            }
            changed.await;
        }
    }

    pub(super) fn park(self: &Arc<Self>, delivery: Delivery, pause: Duration) {
        self.note("park", &delivery);
        let event = delivery.event_id;
        let mut state = self.state();
        state.last_sequence += 1;
        let schedule = state.last_sequence;
        state.parked.insert(event, (schedule, delivery));
        drop(state);
        let world = Arc::clone(self);
        tokio::spawn(async move {
            sleep(pause).await;
            world.fire(event, schedule);
        });
    }

    pub(super) fn unpark(&self, delivery: &Delivery) {
        self.state().parked.remove(&delivery.event_id);
        self.changed.notify_waiters();
    }

    /// A schedule is due, unless it was replaced.
    fn fire(&self, event: EventId, schedule: u64) {
        let mut state = self.state();
        if state
            .parked
            .get(&event)
            .is_none_or(|(now, _)| *now != schedule)
        {
            return;
        }
        let Some((_, delivery)) = state.parked.remove(&event) else {
            return;
        };
        state.publish_retry(delivery, false);
        drop(state);
        self.changed.notify_waiters();
    }

    pub(super) fn is_recorded(&self, delivery: &Delivery) -> bool {
        let number = delivery.attempt_count + 1;
        self.state().recorded.contains(&(delivery.event_id, number))
    }

    pub(super) fn record(&self, delivery: &Delivery) {
        let number = delivery.attempt_count + 1;
        self.state().recorded.insert((delivery.event_id, number));
    }

    /// A request is made.
    pub(super) fn begin_attempt(&self, chat: usize, number: usize) -> InFlight<'_> {
        let mut state = self.state();
        let early = (0..number).find(|earlier| !state.is_settled[chat][*earlier]);
        if let Some(earlier) = early.filter(|_| self.faults.keep_order()) {
            let what = format!("chat {chat}: message {number} before message {earlier}");
            state.wrong.push(what);
        }
        state.in_flight[chat] += 1;
        if state.in_flight[chat] > 1 && self.faults.keep_order() {
            state.wrong.push(format!("chat {chat}: two at once"));
        }
        InFlight(self, chat)
    }

    /// Whether the attempt is to be made again.
    pub(super) fn end_attempt(&self, delivery: &Delivery) -> bool {
        let is_failed = self.happens(self.faults.attempts);
        let is_retried = is_failed && delivery.attempt_count + 1 < ATTEMPTS_MAX;
        if !is_retried {
            let (chat, number) = place(delivery);
            self.state().is_settled[chat][number] = true;
        }
        is_retried
    }

    /// Waits until no copy is left anywhere. A queue that is left is swept, like
    /// `deliver/chat/sweep.rs` does after a while, if the faults allow that.
    pub(super) async fn all_settled(&self) {
        loop {
            let changed = self.changed.notified();
            let is_empty = {
                let state = self.state();
                state.open == 0 && state.parked.is_empty()
            };
            if is_empty && !(self.faults.may_need_sweep() && self.sweep()) {
                return;
            }
            changed.await;
        }
    }

    /// Dispatches a head that nobody works on; whether there was one.
    fn sweep(&self) -> bool {
        let mut state = self.state();
        // The window in which a second dispatch is dropped is over by then.
        state.dispatched.clear();
        let head = state.queues.values().next().cloned();
        let is_found = head.is_some();
        if let Some(delivery) = head {
            state.steps.push("sweep".to_owned());
            state.publish_retry(delivery, true);
        }
        drop(state);
        self.changed.notify_waiters();
        is_found
    }

    /// What went wrong, with the last steps.
    pub(super) fn judge(&self, is_done: bool) -> Result<(), String> {
        let mut state = self.state();
        let mut wrong = std::mem::take(&mut state.wrong);
        if !is_done {
            wrong.push("copies are left".to_owned());
        }
        for (chat, messages) in state.is_settled.iter().enumerate() {
            let lost = messages.iter().filter(|is_settled| !**is_settled).count();
            if lost > 0 && wrong.is_empty() {
                wrong.push(format!("chat {chat}: {lost} messages are lost or stalled"));
            }
        }
        if !state.queues.is_empty() && wrong.is_empty() {
            wrong.push("a chat queue is not empty".to_owned());
        }
        if wrong.is_empty() {
            return Ok(());
        }
        let shown = state.steps.len().saturating_sub(STEPS_SHOWN);
        let steps = state.steps[shown..].join("\n");
        Err(format!("{}\n{steps}", wrong.join("; ")))
    }

    /// A call to the bus: it takes a while, and may fail before or after its effect.
    pub(super) async fn call<T>(&self, effect: impl FnOnce(&mut State) -> T) -> Result<T, Error> {
        self.pause().await;
        if self.happens(self.faults.bus / 2) {
            return Err(Error::Timeout("acknowledgement"));
        }
        let value = effect(&mut self.state());
        self.pause().await;
        if self.happens(self.faults.bus.div_ceil(2)) {
            return Err(Error::Timeout("acknowledgement"));
        }
        Ok(value)
    }

    pub(super) async fn call_empty(&self) -> Result<(), Error> {
        self.call(|_| ()).await
    }
}

impl State {
    pub(super) fn publish_retry(&mut self, delivery: Delivery, from_queue: bool) {
        self.last_sequence += 1;
        self.open += 1;
        self.retries.new.push(Copy {
            sequence: self.last_sequence,
            delivery,
            deliveries: 0,
            from_queue,
        });
    }

    fn stream(&mut self, work: Work) -> &mut Stream {
        match work {
            Work::Retry => &mut self.retries,
            _ => &mut self.messages,
        }
    }
}
