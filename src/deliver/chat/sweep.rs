//! Finds lines that nobody works on.
//!
//! The first of a line is under way, or parked, or a message that brings it is on its way. No step
//! in this room breaks that, wherever a node dies. But an operator may empty a stream, and a fault
//! that nobody thought of may be among us: a chat that stands still for ever is too high a price.
//! So now and then each partition's owner looks at its lines. A first that is neither under way nor
//! parked, twice in a row, is sent on its way once more. Should it have been on its way all the
//! same, the surplus copy is told by its mark and dropped.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval_at};
use tokio_util::sync::CancellationToken;

use super::order::ChatOrder;
use crate::{
    bus::{Bus, Error, Queued},
    telemetry,
    wire::subject::QueueEntry,
};

/// Places in lines that are looked at in one go; more have their turn in the next.
const PLACES: usize = 5_000;
/// Attempts of one message that are looked for on record: more than a round has.
const ATTEMPTS: u16 = 64;

/// Looks after the lines of one partition.
pub(in crate::deliver) struct Sweep {
    bus: Bus,
    partition: u16,
    lines: Arc<ChatOrder>,
    every: Duration,
    /// The last place that was looked at; 0: begin with the oldest.
    after: u64,
    /// Firsts that nobody seemed to work on, in the last round and in this one.
    before: HashSet<u64>,
    now: HashSet<u64>,
}

impl Sweep {
    /// Looks once in each `every`: no message is on its way for longer unless it is handed out
    /// again.
    pub(in crate::deliver) fn new(
        bus: Bus,
        partition: u16,
        lines: Arc<ChatOrder>,
        every: Duration,
    ) -> Self {
        Self {
            bus,
            partition,
            lines,
            every,
            after: 0,
            before: HashSet::new(),
            now: HashSet::new(),
        }
    }

    pub(in crate::deliver) async fn run(mut self, cancel: CancellationToken) {
        let mut ticks = interval_at(Instant::now() + self.every, self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                _ = ticks.tick() => {}
            }
            self.lines.forget_old();
            let looked = tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                looked = self.look() => looked,
            };
            if let Err(error) = looked {
                tracing::warn!(partition = self.partition, %error, "looking at lines failed; the \
                    next time may do");
            }
        }
    }

    async fn look(&mut self) -> Result<(), Error> {
        let places = self
            .bus
            .queued_entries(self.partition, self.after, PLACES)
            .await?;
        let mut seen = HashSet::new();
        for (_, place) in &places {
            // The oldest of each chat stands for it.
            if seen.insert((place.client_id, &place.phone, &place.chat)) {
                self.judge(place).await?;
            }
        }
        self.after = if places.len() < PLACES {
            0
        } else {
            places.last().map_or(0, |(sequence, _)| *sequence)
        };
        if self.after == 0 {
            self.before = std::mem::take(&mut self.now);
        }
        Ok(())
    }

    async fn judge(&mut self, place: &QueueEntry) -> Result<(), Error> {
        // Most firsts are parked: that needs no look at what waits.
        if self
            .bus
            .parked(place.client_id, place.event_id)
            .await?
            .is_some()
        {
            return Ok(());
        }
        let Some(first) = self.bus.queue_head_before(place).await? else {
            return Ok(());
        };
        let is_first = first.delivery.event_id == place.event_id;
        let is_parked = !is_first
            && self
                .bus
                .parked(place.client_id, first.delivery.event_id)
                .await?
                .is_some();
        if is_parked || self.lines.is_busy(&first.delivery) {
            return Ok(());
        }
        self.now.insert(first.sequence);
        if self.before.contains(&first.sequence) {
            self.send(first).await
        } else {
            Ok(())
        }
    }

    /// Its place tells of the attempts before it joined; the record may tell of more.
    async fn send(&self, mut first: Queued) -> Result<(), Error> {
        let known = first.delivery.attempt_count;
        while first.delivery.attempt_count < known.saturating_add(ATTEMPTS)
            && self.bus.is_recorded(&first.delivery).await
        {
            first.delivery.attempt_count += 1;
            first.delivery.attempts_this_round =
                first.delivery.attempts_this_round.saturating_add(1);
        }
        telemetry::error("deliver", "line_found");
        tracing::error!(
            partition = self.partition,
            sequence = first.sequence,
            "a line that nobody worked on goes on"
        );
        self.bus.dispatch_head(&first).await
    }
}
