//! From the results stream to the store.
//!
//! A loop for each partition pulls groups of results, writes them, and acknowledges them once they are durable there.
//! Writing a group twice changes nothing, so whatever fails is done again. While the store is down the loops wait and
//! pull nothing more: the backlog lies in the stream, bounded by it, and deliveries go on.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    bus::{Bus, Incoming, Pull, Work},
    model::Attempt,
    store::Store,
    telemetry,
    wire::{PARTITIONS, decode_attempts},
};

/// Attempts written at once by one loop.
const ATTEMPTS_MAX: usize = 1024;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// The record role.
pub struct Record;

impl Record {
    /// Starts all loops on `tasks`. After `cancel` they take nothing new, and end once what they hold is written.
    pub fn start(bus: Bus, store: Arc<dyn Store>, tasks: &TaskTracker, cancel: CancellationToken) {
        for partition in 0..PARTITIONS {
            let pull = bus.pull(Work::Result, partition, cancel.clone());
            tasks.spawn(run(pull, Arc::clone(&store), cancel.clone()));
        }
    }
}

async fn run(mut pull: Pull, store: Arc<dyn Store>, cancel: CancellationToken) {
    while let Some(first) = pull.next().await {
        let (mut attempts, mut messages) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(incoming) = next {
            take(incoming, &mut attempts, &mut messages).await;
            next = if attempts.len() < ATTEMPTS_MAX { pull.try_next() } else { None };
        }
        if write(&*store, attempts, &cancel).await {
            for message in messages {
                if let Err(error) = message.ack().await {
                    tracing::debug!(%error, "a group of results will be written again");
                }
            }
        }
    }
}

async fn take(incoming: Incoming, attempts: &mut Vec<Attempt>, messages: &mut Vec<Incoming>) {
    match decode_attempts(incoming.payload()) {
        Ok(group) => {
            attempts.extend(group);
            messages.push(incoming);
        }
        Err(error) => {
            telemetry::error("record", "undecodable");
            tracing::error!(%error, "a group of results cannot be read");
            incoming.term("undecodable").await;
        }
    }
}

/// Whether the attempts are durable. Tries until they are, or the node stops.
async fn write(store: &dyn Store, attempts: Vec<Attempt>, cancel: &CancellationToken) -> bool {
    let mut pause = FIRST_PAUSE;
    loop {
        match store.record(attempts.clone()).await {
            Ok(()) => {
                telemetry::results_recorded(attempts.len());
                return true;
            }
            Err(error) => {
                telemetry::error("record", "store");
                tracing::error!(%error, count = attempts.len(), "the store does not take results; trying again");
            }
        }
        tokio::select! {
            () = cancel.cancelled() => return false,
            () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
        }
    }
}
