//! One loop: pulls, and gives each message a slot and a task.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    task::yield_now,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::{
    arrival::{Arrival, Content, Encoded, Source},
    engine::{Engine, Fetched},
    settle::{give_back, redelivery_pause},
    shared::{Backpressure, LastOwner},
    taken_up::{Slots, TakenUp},
};
use crate::{
    bus::{Error, Incoming, Pull, Work},
    tasks::{TaskKind, Tasks},
    telemetry,
};

/// How long another node waits at most for what is in flight here. Requests that take longer
/// overlap with its own.
const HANDOVER: Duration = Duration::from_secs(2);
/// How much longer it waits for messages of chats that are kept in order: they may be late because
/// the machine is busy, and the next of their chat would overtake them.
const ORDERED_HANDOVER: Duration = Duration::from_secs(6);
/// How long it takes at most to tell the next node of messages that come again in a while.
const RETURNED_DEADLINE: Duration = Duration::from_secs(3);

/// Between two look-ups of a webhook while the bus does not answer.
const READ_PAUSE: Duration = Duration::from_millis(100);
const READ_PAUSE_MAX: Duration = Duration::from_secs(2);

/// The task of a larger message begins before the next message is decoded. Until its body is built,
/// a message may take fifty times its bytes in memory.
const LARGE_MESSAGE_BYTES: usize = 64 * 1024;

/// A loop for one kind of work of one partition.
pub(super) struct PullLoop {
    work: Work,
    pull: Pull,
    engine: Arc<Engine>,
    tasks: Tasks,
    /// Who had this partition before this node is fed.
    last_owner: LastOwner,
    cancel: CancellationToken,
    /// The term in which the fetched messages were sent.
    term: u64,
    /// When the loop last looked at what it has fetched.
    looked_at: Instant,
}

/// Why the loop has no message now.
enum Stop {
    /// The message was given back or forgotten; the next one may do.
    Skip,
    /// The partition is another node's.
    LetGo,
}

impl PullLoop {
    pub(super) fn new(
        work: Work,
        pull: Pull,
        engine: Arc<Engine>,
        last_owner: LastOwner,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            work,
            pull,
            tasks: engine.shared.tasks.clone(),
            last_owner,
            cancel,
            term: engine.term(),
            looked_at: Instant::now(),
            engine,
        }
    }

    /// Runs until cancelled, and until the partition is given back then.
    pub(super) async fn run(mut self) {
        let slots = Slots::new();
        loop {
            match self.next(&slots).await {
                Ok((arrival, taken)) => {
                    let is_large = arrival.source.incoming.payload().len() > LARGE_MESSAGE_BYTES;
                    self.start(arrival, taken);
                    if is_large {
                        yield_now().await;
                    }
                }
                Err(Stop::Skip) => {}
                Err(Stop::LetGo) => return self.let_go(&slots).await,
            }
        }
    }

    /// Starts the task of a message.
    fn start(&self, arrival: Arrival, taken: TakenUp) {
        let engine = Arc::clone(&self.engine);
        let span = arrival.content.span();
        let handled = async move { engine.handle(arrival, taken).await };
        self.tasks.once(TaskKind::Message, handled.instrument(span));
    }

    /// The next message, with what its task holds.
    async fn next(&mut self, slots: &Slots) -> Result<(Arrival, TakenUp), Stop> {
        let memory = Arc::clone(&self.engine.shared.memory);
        let slot = async {
            memory.wait_for_room().await;
            slots.acquire().await
        };
        let slot = unless_cancelled(&self.cancel, slot).await;
        let slot = slot.ok_or(Stop::LetGo)?;
        let looked_at = &mut self.looked_at;
        let next = next_with_room(&mut self.pull, &self.engine, self.work, looked_at);
        let incoming = unless_cancelled(&self.cancel, next).await.flatten();
        self.looked_at = Instant::now();
        let incoming = self.check_silence(incoming.ok_or(Stop::LetGo)?).await?;
        if self.pull.newly_pinned() {
            // If the pin is lost later, another node has had it when it comes back.
            match mem::replace(&mut self.last_owner, LastOwner::AnotherNode) {
                LastOwner::Nobody => {}
                LastOwner::AnotherNode => self.engine.taken_over(),
            }
        }
        // Before the next message is taken, so that tickets are taken in order.
        let content = match self.read(&incoming).await {
            Ok(content) => content,
            Err(error) => {
                self.give_back(incoming, &error).await;
                return Err(Stop::Skip);
            }
        };
        let bytes = incoming.payload().len();
        let mut taken = TakenUp::new(slots, &memory, content.client(), bytes, slot);
        let ticket = self.engine.ticket(&content);
        if ticket.is_some() {
            taken.is_of_a_chat(slots);
        }
        let arrival = Arrival {
            source: Source {
                work: self.work,
                incoming,
            },
            ticket,
            content,
        };
        Ok((arrival, taken))
    }

    /// Passes a message on if it was sent since this node was last silent.
    async fn check_silence(&mut self, incoming: Incoming) -> Result<Incoming, Stop> {
        // Only once the lease is current is it known whether this node was silent.
        let current = self.engine.wait_until_lease_is_current();
        if unless_cancelled(&self.cancel, current).await.is_none() {
            self.engine.handover(self.work).add(incoming).await;
            return Err(Stop::LetGo);
        }
        let term = self.engine.term();
        if mem::replace(&mut self.term, term) == term {
            return Ok(incoming);
        }
        match self.engine.after_silence(&self.pull) {
            Fetched::Kept => Ok(incoming),
            Fetched::Forget => {
                self.pull.forget();
                Err(Stop::Skip)
            }
            Fetched::GiveBack => {
                self.pull.give_back_with(incoming).await;
                Err(Stop::Skip)
            }
        }
    }

    /// Decodes a message and finds its webhook. Asks again while the bus does not answer: those
    /// that come after this message must not overtake it, and without the bus they would get no
    /// further.
    async fn read(&self, incoming: &Incoming) -> Result<Content, Error> {
        let mut pause = READ_PAUSE;
        loop {
            let bus = self.engine.bus();
            let error = match Content::read(bus, Encoded::of(self.work, incoming)).await {
                Ok(content) => return Ok(content),
                Err(error) => error,
            };
            if !error.is_transient() || !incoming.is_ours(self.engine.ack_wait()) {
                return Err(error);
            }
            tracing::warn!(work = self.work.as_str(), %error, "looking up a webhook again");
            if unless_cancelled(&self.cancel, sleep(pause)).await.is_none() {
                return Err(error);
            }
            pause = (pause * 2).min(READ_PAUSE_MAX);
        }
    }

    /// After an outage all messages that are here go back with this one, so that they come again
    /// in their order. A webhook that cannot be read concerns its own messages alone.
    async fn give_back(&mut self, incoming: Incoming, error: &Error) {
        if error.is_transient() {
            telemetry::error("deliver", "bus");
            tracing::warn!(%error, "giving messages back");
            self.pull.give_back_with(incoming).await;
        } else {
            let pause = redelivery_pause(incoming.deliveries);
            give_back(incoming, error, Some(pause)).await;
        }
    }

    /// The next node begins when the pin goes. So what is in flight here gets a little time to end,
    /// and what is given back is on the server, first.
    async fn let_go(mut self, slots: &Slots) {
        let engine = Arc::clone(&self.engine);
        let settled = async {
            if timeout(HANDOVER, slots.wait_until_all_are_free())
                .await
                .is_err()
            {
                let ordered = slots.wait_until_no_chat_waits();
                let _ = timeout(ORDERED_HANDOVER, ordered).await;
            }
            let _ = timeout(RETURNED_DEADLINE, engine.enqueue_returned()).await;
        };
        self.pull.stop_until(settled).await;
        let returned = self.engine.handover(self.work).take();
        self.pull.release(returned).await;
    }
}

/// The value, unless the loop is cancelled first.
async fn unless_cancelled<T>(
    cancel: &CancellationToken,
    future: impl Future<Output = T>,
) -> Option<T> {
    tokio::select! {
        biased;
        () = cancel.cancelled() => None,
        value = future => Some(value),
    }
}

/// The next message for which there is room. `looked_at` is when the loop last looked: messages
/// that were fetched long before are handed out again elsewhere, and do not show their age.
async fn next_with_room(
    pull: &mut Pull,
    engine: &Engine,
    work: Work,
    looked_at: &mut Instant,
) -> Option<Incoming> {
    loop {
        engine.wait_for_backpressure(work, Backpressure::Open).await;
        if engine.is_stale(*looked_at) {
            pull.give_back().await;
        }
        tokio::select! {
            biased;
            () = engine.wait_for_backpressure(work, Backpressure::Closed) => {
                *looked_at = Instant::now();
            }
            incoming = pull.next() => return incoming,
        }
    }
}
