//! Results in groups: one publish for many, and their messages acknowledged after it.

use std::time::Duration;

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::task::TaskTracker;

use crate::{
    bus::{Bus, Incoming},
    config,
    model::Attempt,
    telemetry,
    wire::PARTITIONS,
};

/// Results of one partition that may wait for their group.
const QUEUE: usize = 1024;
const PAUSE: Duration = Duration::from_secs(1);

/// A result, and the message to acknowledge once it is stored.
pub(super) struct Settled {
    pub(super) attempt: Attempt,
    pub(super) incoming: Incoming,
}

/// A queue for each partition. The tasks behind them end when all senders are gone.
pub(super) fn start(bus: &Bus, settings: &config::Bus, tasks: &TaskTracker) -> Vec<mpsc::Sender<Settled>> {
    let start = |partition| {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let (max, wait) = (settings.result_group_max, settings.result_group_wait);
        tasks.spawn(run(bus.clone(), partition, receiver, max, wait));
        sender
    };
    (0..PARTITIONS).map(start).collect()
}

async fn run(bus: Bus, partition: u16, mut queue: mpsc::Receiver<Settled>, max: usize, wait: Duration) {
    while let Some(first) = queue.recv().await {
        let mut group = vec![first];
        let end = Instant::now() + wait;
        while group.len() < max {
            match timeout_at(end, queue.recv()).await {
                Ok(Some(settled)) => group.push(settled),
                Ok(None) | Err(_) => break,
            }
        }
        let (attempts, messages): (Vec<_>, Vec<_>) = group.into_iter().map(|one| (one.attempt, one.incoming)).unzip();
        // For as long as it takes: the queue behind fills, the loops stop pulling, nothing is lost.
        while let Err(error) = bus.publish_results(partition, &attempts).await {
            telemetry::error("deliver", "results");
            tracing::error!(partition, count = attempts.len(), %error, "results cannot be published; trying again");
            sleep(PAUSE).await;
        }
        for incoming in messages {
            if let Err(error) = incoming.ack().await {
                tracing::warn!(%error, "a delivery cannot be acknowledged and may be made again");
            }
        }
    }
}
