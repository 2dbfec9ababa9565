//! Takes results from the bus to the store.
//!
//! One loop per partition pulls groups of attempts, joins what lies ready, and writes it in one go. A group is acked
//! once the store has it. While the store does not answer, the loop tries again and pulls nothing: results wait in
//! the stream, deliveries go on. The store takes the same attempt twice without harm, so whatever is handed out again
//! after a crash is simply written again.

mod retention;

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    bus::{Bus, Incoming, Pull, Work},
    model::Attempt,
    store::Store,
    telemetry, wire,
};

/// Attempts in one write, give or take the last group.
const ATTEMPTS: usize = 1024;
/// Bytes in one write, give or take the last group.
const BYTES: usize = 4 * 1024 * 1024;
/// A write that takes longer counts as failed; writing again does no harm.
const PATIENCE: Duration = Duration::from_secs(30);
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The role that writes the audit.
pub struct Record;

impl Record {
    /// Starts the loops of all partitions on `tasks`, and the one that drops what is older than `retention`. They end
    /// after `cancel`; then the store writes out what it kept in memory.
    pub fn start(bus: Bus, store: Arc<dyn Store>, retention: Duration, tasks: &TaskTracker, cancel: CancellationToken) {
        let loops = TaskTracker::new();
        for partition in 0..wire::PARTITIONS {
            let pull = bus.pull(Work::Result, partition, cancel.clone());
            loops.spawn(run(pull, Arc::clone(&store), cancel.clone()));
        }
        loops.spawn(retention::keep(Arc::clone(&store), retention, cancel));
        loops.close();
        tasks.spawn(async move {
            loops.wait().await;
            if let Ok(Err(error)) = timeout(FLUSH_PATIENCE, store.flush()).await {
                tracing::warn!(%error, "the last second of webhooks' states could not be written");
            }
        });
    }
}

#[derive(Default)]
struct Batch {
    attempts: Vec<Attempt>,
    messages: Vec<Incoming>,
    bytes: usize,
}

impl Batch {
    async fn add(&mut self, incoming: Incoming) {
        match wire::decode_attempts(incoming.payload()) {
            Ok(attempts) => {
                self.bytes += incoming.payload().len();
                self.attempts.extend(attempts);
                self.messages.push(incoming);
            }
            Err(error) => {
                telemetry::error("record", "undecodable");
                tracing::error!(%error, "dropping a group of results that nobody can read");
                incoming.term("undecodable").await;
            }
        }
    }

    fn is_full(&self) -> bool {
        self.attempts.len() >= ATTEMPTS || self.bytes >= BYTES
    }
}

async fn run(mut pull: Pull, store: Arc<dyn Store>, cancel: CancellationToken) {
    while let Some(first) = pull.next().await {
        let mut batch = Batch::default();
        batch.add(first).await;
        while !batch.is_full() {
            let Some(more) = pull.try_next() else { break };
            batch.add(more).await;
        }
        let durable = write(&*store, batch.attempts, &cancel).await;
        for incoming in batch.messages {
            if !durable {
                incoming.nak(None).await;
            } else if incoming.ack().await.is_err() {
                telemetry::error("record", "ack");
            }
        }
    }
}

/// Whether the store has them. Tries for ever, but only once more after cancellation.
async fn write(store: &dyn Store, attempts: Vec<Attempt>, cancel: &CancellationToken) -> bool {
    let mut pause = FIRST_PAUSE;
    loop {
        let last = cancel.is_cancelled();
        match timeout(PATIENCE, store.record(attempts.clone())).await {
            Ok(Ok(())) => {
                telemetry::results_recorded(attempts.len());
                return true;
            }
            Ok(Err(error)) => tracing::warn!(%error, "writing results failed"),
            Err(_) => tracing::warn!("writing results took too long"),
        }
        telemetry::error("record", "store");
        if last {
            return false;
        }
        tokio::select! {
            () = cancel.cancelled() => {}
            () = sleep(pause) => {}
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}
