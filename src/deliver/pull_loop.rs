//! One loop: pulls, and gives each message a slot and a task.

use std::{
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    arrival::{Arrival, Content},
    engine::{Engine, SLOTS},
    results::Settled,
    settle::Settle,
    shared::Backpressure,
};
use crate::{
    bus::{Error, Incoming, Pull, Work},
    tasks::{TaskKind, Tasks},
    telemetry,
};

/// How long another node waits at most for what is under way here. Requests that take longer
/// overlap with its own.
const HANDOVER: Duration = Duration::from_secs(2);

/// Between two look-ups of a webhook while the bus does not answer.
const READ_PAUSE: Duration = Duration::from_millis(100);
const READ_PAUSE_MAX: Duration = Duration::from_secs(2);

const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A loop for one kind of work of one partition.
pub(super) struct PullLoop {
    pub(super) work: Work,
    pub(super) pull: Pull,
    pub(super) engine: Arc<Engine>,
    pub(super) tasks: Tasks,
    /// Whether no other node had this partition lately.
    pub(super) fresh: bool,
    pub(super) cancel: CancellationToken,
}

impl PullLoop {
    pub(super) async fn run(mut self) {
        let slots = Arc::new(Semaphore::new(SLOTS));
        let mut term = self.engine.term();
        let mut looked = Instant::now();
        loop {
            let slot = tokio::select! {
                biased;
                () = self.cancel.cancelled() => None,
                slot = Arc::clone(&slots).acquire_owned() => slot.ok(),
            };
            let Some(slot) = slot else {
                return self.let_go(&slots).await;
            };
            let incoming = tokio::select! {
                biased;
                () = self.cancel.cancelled() => None,
                incoming = next(&mut self.pull, &self.engine, self.work, &mut looked) => incoming,
            };
            looked = Instant::now();
            let Some(incoming) = incoming else {
                drop(slot);
                return self.let_go(&slots).await;
            };
            // Only then it is known whether this node was silent.
            let is_current = tokio::select! {
                biased;
                () = self.engine.wait_until_lease_is_current() => true,
                () = self.cancel.cancelled() => false,
            };
            if !is_current {
                incoming.nak(None).await;
                drop(slot);
                return self.let_go(&slots).await;
            }
            if self.engine.term() != term {
                term = self.engine.term();
                // What was sent before this node fell silent may be done elsewhere after a long
                // silence.
                match self
                    .engine
                    .last_silence()
                    .filter(|(since, _)| self.pull.is_older_than(*since))
                {
                    None => {}
                    Some((_, true)) => {
                        self.pull.forget();
                        continue;
                    }
                    Some((_, false)) => {
                        incoming.nak(None).await;
                        self.pull.give_back().await;
                        continue;
                    }
                }
            }
            if self.pull.newly_pinned() && !mem::take(&mut self.fresh) {
                self.engine.taken_over();
            }
            // Before the next message is taken, so that tickets are taken in order.
            let content = match self.read(&incoming).await {
                Ok(content) => content,
                Err(error) => {
                    self.give_back(incoming, &error).await;
                    continue;
                }
            };
            let arrival = Arrival {
                work: self.work,
                ticket: self.engine.ticket(&content),
                incoming,
                content,
            };
            let handled = handle(Arc::clone(&self.engine), arrival, slot);
            self.tasks.once(TaskKind::Message, handled);
        }
    }

    /// Asks again while the bus does not answer: those that come after this message must not
    /// overtake it, and without the bus they would get no further.
    async fn read(&self, incoming: &Incoming) -> Result<Content, Error> {
        let mut pause = READ_PAUSE;
        loop {
            let error = match Content::read(self.engine.bus(), self.work, incoming.payload()).await
            {
                Ok(content) => return Ok(content),
                Err(error) => error,
            };
            if !error.is_transient() || !incoming.is_ours(self.engine.ack_wait()) {
                return Err(error);
            }
            tracing::warn!(work = self.work.as_str(), %error, "looking up a webhook again");
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(error),
                () = sleep(pause) => pause = (pause * 2).min(READ_PAUSE_MAX),
            }
        }
    }

    /// After an outage all messages that are here go back with this one, so that they come again
    /// in their order. A webhook that cannot be read concerns its own messages alone.
    async fn give_back(&mut self, incoming: Incoming, error: &Error) {
        telemetry::error("deliver", "bus");
        tracing::warn!(work = self.work.as_str(), %error, "giving a message back");
        if error.is_transient() {
            incoming.nak(None).await;
            self.pull.give_back().await;
        } else {
            let pause = pause(incoming.deliveries);
            incoming.nak(Some(pause)).await;
        }
    }

    /// The next node begins when the pin goes: so what is under way here gets a little time to end
    /// first.
    async fn let_go(mut self, slots: &Semaphore) {
        let _ = timeout(HANDOVER, slots.acquire_many(SLOTS as u32)).await;
        self.pull.release().await;
    }
}

/// The next message for which there is room. `looked`: when somebody last did; what has lain here
/// unseen since long before is handed out again, and would not show its age.
async fn next(
    pull: &mut Pull,
    engine: &Engine,
    work: Work,
    looked: &mut Instant,
) -> Option<Incoming> {
    loop {
        engine.wait_for_backpressure(work, Backpressure::Open).await;
        if engine.is_stale(*looked) {
            pull.give_back().await;
        }
        tokio::select! {
            biased;
            () = engine.wait_for_backpressure(work, Backpressure::Closed) => {
                *looked = Instant::now();
            }
            incoming = pull.next() => return incoming,
        }
    }
}

async fn handle(engine: Arc<Engine>, arrival: Arrival, slot: OwnedSemaphorePermit) {
    let Arrival {
        work,
        incoming,
        content,
        ticket,
    } = arrival;
    if incoming.deliveries > 1 {
        telemetry::redelivered(work.as_str());
    }
    match engine.process(work, content, ticket, &incoming).await {
        Ok(Settle::Ack) => {
            if incoming.ack().await.is_err() {
                telemetry::error("deliver", "ack");
            }
        }
        Ok(Settle::GiveBack) => incoming.nak(None).await,
        Ok(Settle::GiveBackLater) => incoming.nak(Some(FIRST_PAUSE)).await,
        // Another node may be at it: a NAK would hand it out a third time.
        Ok(Settle::Forget) => telemetry::error("deliver", "not_current"),
        Ok(Settle::Undecodable) => {
            telemetry::error("deliver", "undecodable");
            match Box::pin(engine.keep_undecodable(work, &incoming)).await {
                Ok(()) => incoming.term("undecodable").await,
                Err(_) => {
                    let pause = pause(incoming.deliveries);
                    incoming.nak(Some(pause)).await;
                }
            }
        }
        Ok(Settle::Publish(attempt, permit)) => {
            // The other end lives until the last sender is gone; should it have died, the message
            // comes again.
            if engine
                .results()
                .send(Settled {
                    attempt,
                    incoming,
                    _held: (slot, permit),
                })
                .await
                .is_err()
            {
                telemetry::error("deliver", "results_gone");
            }
        }
        Err(error) => {
            telemetry::error("deliver", "bus");
            tracing::warn!(work = work.as_str(), %error, "giving a message back");
            let pause = pause(incoming.deliveries);
            incoming.nak(Some(pause)).await;
        }
    }
}

/// Deliveries are counted and end: each one waits longer, so that an outage does not use them up.
fn pause(deliveries: i64) -> Duration {
    let doublings = u32::try_from(deliveries.clamp(1, 16) - 1).unwrap_or(0);
    FIRST_PAUSE
        .saturating_mul(1 << doublings)
        .min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        assert_eq!(
            [0, 1, 2, 3, 4, 5, i64::MAX].map(|n| pause(n).as_secs()),
            [5, 5, 10, 20, 40, 60, 60]
        );
    }
}
