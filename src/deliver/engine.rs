//! What all messages of one partition share on this node.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use super::{
    arrival::Content,
    chat::{ChatOrder, Ticket},
    handover::Handover,
    limiter::EndpointLimiters,
    results::Settled,
    shared::{Backpressure, Shared},
    taken_up::SLOTS,
};
use crate::{
    bus::{Bus, Pull, Work},
    model::Timestamp,
    policy::Backoff,
    telemetry,
};

/// Messages of one loop that may wait for a limiter that hardly moves.
const WAITERS_MAX_WHEN_SLOW: usize = SLOTS / 4;

/// Between two tries to tell the next node what comes again.
const RETURNED_PAUSE: Duration = Duration::from_millis(200);

/// What becomes of fetched messages once a silence of this node is over.
pub(super) enum Fetched {
    /// They were sent after it began, or there was none.
    Kept,
    /// They were sent before it. The server still keeps them for this node.
    GiveBack,
    /// They were sent before it. Another node may have them by now.
    Forget,
}

/// One partition's deliveries, whichever loop brings them.
pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) limiters: EndpointLimiters,
    chats: Arc<ChatOrder>,
    messages: Handover,
    retries: Handover,
    pub(super) schedule: Backoff,
    pub(super) cancel: CancellationToken,
}

impl Engine {
    pub(super) fn new(shared: Arc<Shared>, cancel: CancellationToken) -> Self {
        let settings = &shared.deliver;
        let schedule = Backoff {
            base: settings.retry_base,
            jitter: settings.retry_jitter,
            max: settings.retry_max,
        };
        Self {
            limiters: EndpointLimiters::new(
                settings.clone(),
                WAITERS_MAX_WHEN_SLOW,
                shared.tasks.clone(),
            ),
            chats: Arc::default(),
            messages: Handover::default(),
            retries: Handover::default(),
            schedule,
            shared,
            cancel,
        }
    }

    pub(super) fn chats(&self) -> Arc<ChatOrder> {
        Arc::clone(&self.chats)
    }

    /// What the loop of this work gives back.
    pub(super) fn handover(&self, work: Work) -> &Handover {
        match work {
            Work::Retry => &self.retries,
            _ => &self.messages,
        }
    }

    /// The partition was another node's until now.
    pub(super) fn taken_over(&self) {
        self.limiters.taken_over(Instant::now());
    }

    /// Waits until back-pressure has this state. Only new messages know back-pressure: their
    /// retries would have to be stored.
    pub(super) async fn wait_for_backpressure(&self, work: Work, wanted: Backpressure) {
        if work == Work::Message {
            // An error means that the node ends.
            let _ = self
                .shared
                .backpressure
                .subscribe()
                .wait_for(|now| *now == wanted)
                .await;
        } else if wanted == Backpressure::Closed {
            std::future::pending::<()>().await;
        }
    }

    /// Where attempts go that are over.
    pub(super) fn results(&self) -> &mpsc::Sender<Settled> {
        &self.shared.results
    }

    /// See [`Membership::term`](crate::bus::Membership::term).
    pub(super) fn term(&self) -> u64 {
        self.shared.membership.term()
    }

    /// Returns once no other node can consider this one down.
    pub(super) async fn wait_until_lease_is_current(&self) {
        self.shared.membership.current().await;
    }

    /// What becomes of the messages that a loop has fetched, now that this node is heard again.
    pub(super) fn after_silence(&self, pull: &Pull) -> Fetched {
        match self.shared.membership.silent_since() {
            Some(since) if pull.is_older_than(since) && self.is_stale(since) => Fetched::Forget,
            Some(since) if pull.is_older_than(since) => Fetched::GiveBack,
            _ => Fetched::Kept,
        }
    }

    /// Whether messages that are here since then may have been handed out elsewhere.
    pub(super) fn is_stale(&self, since: Instant) -> bool {
        since.elapsed() * 2 >= self.shared.ack_wait
    }

    pub(super) fn bus(&self) -> &Bus {
        &self.shared.bus
    }

    /// The time, by the server's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.bus().now()
    }

    /// How long the server keeps a message for this node.
    pub(super) fn ack_wait(&self) -> Duration {
        self.shared.ack_wait
    }

    /// A message's place in the order of its chat, where that matters. To be taken in the order in
    /// which messages come.
    pub(super) fn ticket(&self, content: &Content) -> Option<Ticket> {
        let (webhook, chat_key) = content.chat()?;
        Some(self.chats.ticket(webhook, chat_key))
    }

    /// Tells the partition's next node of the messages of chats that come again in a while: it
    /// must not begin with those after them. Asks again while the bus does not answer.
    pub(super) async fn enqueue_returned(&self) {
        while let Err(error) = self.chats.enqueue_all_returned(self.bus()).await {
            telemetry::error("deliver", "handover");
            tracing::warn!(%error, "the next node does not know yet what comes again in a while");
            sleep(RETURNED_PAUSE).await;
        }
    }
}
