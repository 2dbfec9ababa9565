//! Finds chat queues that nobody works on.
//!
//! The head of a queue is in flight, or parked, or a message that brings it is on its way. Nothing
//! in this room breaks that, wherever a node stops. But an operator may empty a stream, and there
//! may be faults that nobody knows of. So now and then the owner of each partition looks at its
//! queues. A head that is neither in flight nor parked, twice in a row, is dispatched once more. If
//! it was on its way after all, deliver knows the surplus copy by its mark and drops it.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::order::ChatOrder;
use crate::{
    bus::{Bus, Error, Queued},
    model::EventId,
    telemetry,
    wire::subject::QueueEntry,
};

/// Entries of queues that are looked at in one go; more have their turn in the next.
const ENTRIES_MAX: usize = 5_000;
/// Attempts of one message that are looked for on record: more than a round has.
const ATTEMPTS_MAX: u16 = 64;

/// Looks after the chat queues of one partition.
pub(in crate::deliver) struct Sweep {
    bus: Bus,
    partition: u16,
    chats: Arc<ChatOrder>,
    interval: Duration,
    /// The last entry that was looked at; 0: begin with the oldest.
    after: u64,
    /// Heads that nobody seemed to work on, in the last round and in this one.
    suspects_before: HashSet<EventId>,
    suspects: HashSet<EventId>,
}

impl Sweep {
    /// Looks once in each interval. No message is on its way for longer, unless it is redelivered.
    pub(in crate::deliver) fn new(
        bus: Bus,
        partition: u16,
        chats: Arc<ChatOrder>,
        interval: Duration,
    ) -> Self {
        Self {
            bus,
            partition,
            chats,
            interval,
            after: 0,
            suspects_before: HashSet::new(),
            suspects: HashSet::new(),
        }
    }

    pub(in crate::deliver) async fn run(mut self, cancel: CancellationToken) {
        let mut ticks = interval_at(Instant::now() + self.interval, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.chats.forget_old();
            let looked = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                looked = self.look() => looked,
            };
            if let Err(error) = looked {
                tracing::warn!(
                    partition = self.partition,
                    %error,
                    "looking for stalled chat queues failed; the next time may do"
                );
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let entries = self
            .bus
            .queued_entries(self.partition, self.after, ENTRIES_MAX)
            .await?;
        let mut seen = HashSet::new();
        for (_, entry) in &entries {
            // One look at each queue is enough.
            if seen.insert((entry.client_id, &entry.phone, &entry.chat_key)) {
                self.judge(entry).await?;
            }
        }
        self.after = if entries.len() < ENTRIES_MAX {
            0
        } else {
            entries.last().map_or(0, |(sequence, _)| *sequence)
        };
        if self.after == 0 {
            self.suspects_before = std::mem::take(&mut self.suspects);
        }
        Ok(())
    }

    /// Dispatches the head of an entry's queue, if nobody works on it for the second time.
    async fn judge(&mut self, entry: &QueueEntry) -> Result<(), Error> {
        // Most heads are parked: that needs no look at the queue.
        if self.is_parked(entry, entry.event_id).await? {
            return Ok(());
        }
        let Some(head) = self.bus.queue_head_before(entry).await? else {
            return Ok(());
        };
        let event = head.delivery.event_id;
        let is_parked = event != entry.event_id && self.is_parked(entry, event).await?;
        if is_parked || self.chats.is_busy(&head.delivery) {
            return Ok(());
        }
        self.suspects.insert(event);
        if self.suspects_before.contains(&event) {
            self.dispatch(head).await
        } else {
            Ok(())
        }
    }

    async fn is_parked(&self, entry: &QueueEntry, event: EventId) -> Result<bool, Error> {
        let parked = self.bus.parked(entry.client_id, event).await?;
        Ok(parked.is_some())
    }

    /// The entry tells of the attempts before it joined; the record may tell of more.
    async fn dispatch(&self, mut head: Queued) -> Result<(), Error> {
        let attempts_max = head.delivery.attempt_count.saturating_add(ATTEMPTS_MAX);
        while head.delivery.attempt_count < attempts_max
            && self.bus.is_recorded(&head.delivery).await
        {
            head.delivery.attempt_count += 1;
            head.delivery.attempts_this_round = head.delivery.attempts_this_round.saturating_add(1);
        }
        telemetry::error("deliver", "line_found");
        tracing::error!(
            partition = self.partition,
            sequence = head.stored_as.sequence,
            event.id = %head.delivery.event_id,
            webhook.id = %head.delivery.webhook_id,
            client.id = %head.delivery.client_id,
            "a chat queue that nobody worked on goes on"
        );
        self.bus.dispatch_head_again(&head).await
    }
}
