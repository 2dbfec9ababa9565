//! Takes results from the bus to the store.
//!
//! One loop per partition pulls groups of attempts, joins those that have arrived, and writes them
//! at once. A group is acked once the store has it. While the store does not answer, the loop tries
//! again and pulls nothing: results wait in the stream, deliveries go on. The store takes the same
//! attempt twice without harm, so results that are redelivered after a crash are written again.
//! That may happen any number of times, so consumers of results set no limit.
//!
//! Results that can never be written, because they cannot be read or the store refuses them, are
//! kept in WA_DLQ under `wa.undecodable.WA_RESULT`: they must not hold up later ones.

mod attempt_query;
mod retention;

use std::{sync::Arc, time::Duration};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{Bus, Incoming, Pull, Work},
    model::Attempt,
    store::{ErrorKind, Store},
    tasks::{TaskKind, Tasks},
    telemetry, wire,
};

/// Attempts in one write; the last group may go beyond.
const BATCH_ATTEMPTS_MAX: usize = 1024;
/// Bytes in one write; the last group may go beyond.
const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;
/// A write that takes longer counts as failed; writing again does no harm.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const FLUSH_TIMEOUT: Duration = Duration::from_secs(2);
const RETRY_PAUSE: Duration = Duration::from_millis(100);
/// Short: a store that is back should be found soon, and a loop per partition is no load.
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(2);

/// The role that writes the audit.
pub struct Record;

impl Record {
    /// Starts the loops of all partitions on `tasks`, and the one that drops what is older than
    /// `retention`. They end after `cancel`; then the store writes out what it kept in memory.
    pub fn start(
        bus: Bus,
        store: Arc<dyn Store>,
        retention: Duration,
        tasks: &Tasks,
        cancel: CancellationToken,
    ) {
        let loops = tasks.group();
        let queries = (
            bus.clone(),
            Arc::clone(&store),
            loops.clone(),
            cancel.clone(),
        );
        loops.keep(TaskKind::AttemptQueries, &cancel, move || {
            let (bus, store, tasks, cancel) = queries.clone();
            attempt_query::run(bus, store, tasks, cancel)
        });
        for partition in 0..bus.partition_count() {
            let recorder = Recorder {
                bus: bus.clone(),
                store: Arc::clone(&store),
                cancel: cancel.clone(),
            };
            loops.keep(TaskKind::Recorder, &cancel, move || {
                let pull = recorder
                    .bus
                    .pull(Work::Result, partition, recorder.cancel.clone());
                recorder.clone().run(pull)
            });
        }
        let kept = (bus.clone(), Arc::clone(&store), cancel.clone());
        loops.keep(TaskKind::Retention, &cancel, move || {
            let (bus, store, cancel) = kept.clone();
            retention::keep(bus, store, retention, cancel)
        });
        tasks.once(TaskKind::StoreFlush, async move {
            loops.wait().await;
            if let Ok(Err(error)) = timeout(FLUSH_TIMEOUT, store.flush()).await {
                let error = telemetry::report(&error);
                tracing::warn!(
                    error,
                    "the last second of webhooks' states could not be written"
                );
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
    fn is_full(&self) -> bool {
        self.attempts.len() >= BATCH_ATTEMPTS_MAX || self.bytes >= BATCH_BYTES_MAX
    }
}

/// What became of a write.
enum Written {
    All,
    /// Something in it can never be written.
    Refused,
    /// The node stops first.
    Cancelled,
}

/// The loop of one partition.
#[derive(Clone)]
struct Recorder {
    bus: Bus,
    store: Arc<dyn Store>,
    cancel: CancellationToken,
}

impl Recorder {
    async fn run(self, mut pull: Pull) {
        while let Some(first) = pull.next().await {
            let mut batch = Batch::default();
            self.add(&mut batch, first).await;
            while !batch.is_full() {
                let Some(more) = pull.try_next() else { break };
                self.add(&mut batch, more).await;
            }
            let done = match self.write(&batch.attempts).await {
                Written::All => true,
                Written::Refused => self.write_one_by_one(&batch.attempts).await,
                Written::Cancelled => false,
            };
            for incoming in batch.messages {
                if !done {
                    incoming.nak(None).await;
                } else if incoming.ack().await.is_err() {
                    telemetry::error("record", "ack");
                }
            }
        }
    }

    async fn add(&self, batch: &mut Batch, incoming: Incoming) {
        match wire::decode_attempts(incoming.payload()) {
            Ok(attempts) => {
                batch.bytes += incoming.payload().len();
                batch.attempts.extend(attempts);
                batch.messages.push(incoming);
            }
            Err(error) => {
                telemetry::error("record", "undecodable");
                tracing::error!(
                    %error,
                    "a group of results cannot be read; its bytes are kept in WA_DLQ"
                );
                let stream = Work::Result.stream();
                match self
                    .bus
                    .undecodable(
                        stream,
                        incoming.stored_as(),
                        incoming.subject(),
                        incoming.payload(),
                    )
                    .await
                {
                    Ok(()) => incoming.term("undecodable").await,
                    Err(_) => incoming.nak(Some(RETRY_PAUSE_MAX)).await,
                }
            }
        }
    }

    /// Whether all of them are in the store or in quarantine.
    async fn write_one_by_one(&self, attempts: &[Attempt]) -> bool {
        for attempt in attempts {
            let one = std::slice::from_ref(attempt);
            match self.write(one).await {
                Written::All => {}
                Written::Refused if self.quarantine(one).await => {}
                Written::Refused | Written::Cancelled => return false,
            }
        }
        true
    }

    /// Keeps results that the store refuses in WA_DLQ; whether that worked.
    async fn quarantine(&self, refused: &[Attempt]) -> bool {
        telemetry::error("record", "refused");
        let kept = self
            .bus
            .quarantine_results(&wire::encode_attempts(refused))
            .await;
        if let Err(error) = &kept {
            tracing::warn!(%error, "refused results could not be kept in WA_DLQ yet");
        }
        kept.is_ok()
    }

    /// Tries for ever, but only once more after cancellation.
    async fn write(&self, attempts: &[Attempt]) -> Written {
        if attempts.is_empty() {
            return Written::All;
        }
        let mut pause = RETRY_PAUSE;
        let mut tries = 0_u32;
        loop {
            tries = tries.saturating_add(1);
            let last = self.cancel.is_cancelled();
            match timeout(WRITE_TIMEOUT, self.store.record(attempts.to_vec())).await {
                Ok(Ok(())) => {
                    telemetry::results_recorded(attempts.len());
                    if tries > 1 {
                        tracing::info!(tries, "writing results works again");
                    }
                    return Written::All;
                }
                Ok(Err(error)) if error.kind() == ErrorKind::Refused => {
                    tracing::error!(
                        error = telemetry::report(&error),
                        count = attempts.len(),
                        "the store refuses something among these results"
                    );
                    return Written::Refused;
                }
                // While the store is away for long, lines become fewer and fewer. The metric counts
                // each failure.
                Ok(Err(error)) if tries.is_power_of_two() => {
                    let error = telemetry::report(&error);
                    tracing::warn!(tries, error, "writing results failed");
                }
                Ok(Err(_)) => {}
                Err(_) => tracing::warn!(tries, "writing results took too long"),
            }
            telemetry::error("record", "store");
            if last {
                return Written::Cancelled;
            }
            tokio::select! {
                () = self.cancel.cancelled() => {}
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(RETRY_PAUSE_MAX);
        }
    }
}
