//! From a message to an answered POST, and what follows from the answer.
//!
//! A loop for each partition and kind of work pulls messages, as many as it has slots for; each becomes a task:
//!
//! 1. **Resolve**: which webhook, and what to send. No webhook: nothing to do. Paused or disabled: held.
//! 2. **Lane** ([`lane`]): each webhook has its own permits, rate and breaker. What could go soon waits for its turn;
//!    what could not is parked in the stream, so that a slow endpoint never fills the slots of the others.
//! 3. **Attempt**: sign, POST, judge.
//! 4. **Follow up**: park the next try, or put the delivery among the dead letters, and wait until that is stored.
//! 5. **Result** ([`results`]): results are published in groups; only then are their messages acknowledged.
//!
//! Nothing is acknowledged before what follows from it is durable. Whatever fails on the way leaves the message
//! unacknowledged: it comes again, and the receiver tells the second copy by its `webhook-id`.

mod attempt;
mod lane;
mod results;
mod worker;

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    bus::{Bus, Work},
    config, egress,
    wire::PARTITIONS,
};
use worker::Worker;

/// Messages of one loop in memory at once.
const SLOTS: usize = 512;

/// The deliver role.
pub struct Deliver;

impl Deliver {
    /// Starts all loops on `tasks`. After `cancel` they take nothing new, and end once what is under way is settled.
    pub fn start(
        bus: Bus,
        client: egress::Client,
        settings: &config::Deliver,
        groups: &config::Bus,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) {
        let results = results::start(&bus, groups, tasks);
        let worker = Arc::new(Worker::new(bus.clone(), client, settings.clone(), results, cancel.clone()));
        for partition in 0..PARTITIONS {
            for work in [Work::Message, Work::Retry] {
                let pull = bus.pull(work, partition, cancel.clone());
                tasks.spawn(run(Arc::clone(&worker), work, pull, tasks.clone()));
            }
        }
    }
}

async fn run(worker: Arc<Worker>, work: Work, mut pull: crate::bus::Pull, tasks: TaskTracker) {
    let slots = Arc::new(Semaphore::new(SLOTS));
    loop {
        // The slot first: nothing is pulled that could not be started.
        let slot = Arc::clone(&slots).acquire_owned().await.expect("the semaphore is never closed");
        let Some(incoming) = pull.next().await else { return };
        let worker = Arc::clone(&worker);
        // A panic in here frees the slot; the message comes again.
        tasks.spawn(async move {
            worker.handle(work, incoming).await;
            drop(slot);
        });
    }
}
