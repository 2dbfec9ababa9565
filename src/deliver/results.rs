//! Publishes attempts in groups; a message is acked once its group is durable.
//!
//! One loop does it for all partitions of the node, so that groups are large: most of what a
//! delivery costs the server is the number of publishes. The groups go to the partitions in turn,
//! since nodes that record share those.

use std::time::Duration;

use futures_util::future::join_all;
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use super::{places::RequestPlace, taken_up::TakenUp};
use crate::{
    bus::{Bus, Error, Incoming},
    config,
    model::Attempt,
    tasks::{TaskKind, Tasks},
    telemetry,
};

/// Results that wait for the group before them.
const QUEUE_MAX: usize = 256;
/// A group of this size goes out at once: half of what a server takes by default.
const GROUP_BYTES_MAX: usize = 512 * 1024;
/// How long groups go to the same partition. The server writes the acks of each consumer every 100
/// ms, so it has few consumers to write for.
const PARTITION_TURN: Duration = Duration::from_millis(100);
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// What the message holds of its loop and of memory, and the place of a request that was sent.
pub(super) type Held = (TakenUp, Option<RequestPlace>);

/// An attempt that is over, and the message that it settles.
pub(super) struct Settled {
    pub(super) attempt: Box<Attempt>,
    pub(super) incoming: Incoming,
    /// Held until the message is acked: what waits here counts as in memory, and as in flight.
    pub(super) _held: Held,
}

struct Grouper {
    bus: Bus,
    /// Where the next group goes, and since when groups go there.
    partition: u16,
    since: Instant,
    group_max: usize,
    wait: Duration,
    cancel: CancellationToken,
}

/// Starts the loop; it ends when all senders are gone and the last group is settled.
pub(super) fn start(
    bus: Bus,
    settings: &config::Bus,
    tasks: &Tasks,
    cancel: CancellationToken,
) -> mpsc::Sender<Settled> {
    let (sender, receiver) = mpsc::channel(QUEUE_MAX);
    let grouper = Grouper {
        bus,
        partition: 0,
        since: Instant::now(),
        group_max: settings.result_group_max.max(1),
        wait: settings.result_group_wait,
        cancel: cancel.clone(),
    };
    tasks.run(TaskKind::ResultGrouper, &cancel, grouper.run(receiver));
    sender
}

impl Grouper {
    async fn run(mut self, mut receiver: mpsc::Receiver<Settled>) {
        while let Some(first) = receiver.recv().await {
            let deadline = Instant::now() + self.wait;
            let mut bytes = size(&first.attempt);
            let mut group = vec![first];
            while group.len() < self.group_max && bytes < GROUP_BYTES_MAX {
                let Ok(Some(next)) = timeout_at(deadline, receiver.recv()).await else {
                    break;
                };
                bytes += size(&next.attempt);
                group.push(next);
            }
            self.settle(group).await;
            if self.since.elapsed() >= PARTITION_TURN {
                self.partition = (self.partition + 1) % self.bus.partition_count();
                self.since = Instant::now();
            }
        }
    }

    async fn settle(&self, group: Vec<Settled>) {
        let mut attempts = Vec::with_capacity(group.len());
        let mut messages = Vec::with_capacity(group.len());
        for Settled {
            attempt,
            incoming,
            _held,
        } in group
        {
            attempts.push(*attempt);
            messages.push((incoming, _held));
        }
        if !self.publish(attempts).await {
            let returned = messages.into_iter().map(|(incoming, held)| async move {
                incoming.nak(None).await;
                drop(held);
            });
            join_all(returned).await;
            return;
        }
        for (incoming, _held) in messages {
            if incoming.ack().await.is_err() {
                telemetry::error("deliver", "ack");
            }
        }
    }

    /// Whether all are durable. Tries for ever, but only once more after cancellation.
    async fn publish(&self, attempts: Vec<Attempt>) -> bool {
        let mut parts = vec![attempts];
        while let Some(part) = parts.pop() {
            let last = self.cancel.is_cancelled();
            match self.bus.publish_results(self.partition, &part).await {
                Ok(()) => {}
                Err(Error::TooLarge) => match smaller(part) {
                    Some(smaller) => parts.extend(smaller),
                    None => {
                        // Only ids are left, which every server takes.
                        telemetry::error("deliver", "result_too_large");
                        tracing::error!(
                            partition = self.partition,
                            "an attempt is too large for the audit"
                        );
                    }
                },
                Err(error) => {
                    telemetry::error("deliver", "results");
                    tracing::warn!(partition = self.partition, %error, "publishing results failed");
                    if last {
                        return false;
                    }
                    parts.push(part);
                    tokio::select! {
                        () = self.cancel.cancelled() => {}
                        () = sleep(RETRY_PAUSE) => {}
                    }
                }
            }
        }
        true
    }
}

/// Roughly what it takes on the wire.
fn size(attempt: &Attempt) -> usize {
    attempt.delivery.body.len() + attempt.response.as_ref().map_or(0, String::len) + 512
}

/// The same in parts that are smaller; a single attempt goes without the response, then without its
/// body. `None`: it cannot be smaller.
fn smaller(mut attempts: Vec<Attempt>) -> Option<Vec<Vec<Attempt>>> {
    if let [only] = &mut attempts[..] {
        return only.cut().then(|| vec![attempts]);
    }
    let half = attempts.split_off(attempts.len() / 2);
    Some(vec![half, attempts])
}
