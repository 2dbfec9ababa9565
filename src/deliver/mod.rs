//! Takes messages from the bus to customers' endpoints.
//!
//! For each partition two loops pull: new messages and due retries. Each message becomes a task that holds one of its
//! loop's slots until it is settled, so what lies in memory is bounded, and a task that dies gives its slot back.
//!
//! The way of one message: `route` finds its webhook; a `lane` per webhook decides whether it may go now, after a
//! short wait, or later (parked on a schedule, which is no attempt); `engine` makes the attempt and does what the
//! verdict asks for; `results` publishes attempts in groups and only then acks. The order is what keeps promises: a
//! retry is parked, a failure is in the dead letters, and the attempt is durable, before the message is acked. A crash
//! in between repeats an attempt and loses none.
//!
//! A lane is one endpoint's share of the node: its rate, its requests under way, its breaker. An endpoint that hangs
//! is noticed by the age of its oldest progress, not only by answers, so that its messages get parked before they
//! fill a loop.
//!
//! `notices` tells the client's operational webhook what it has to know: a webhook that was disabled, many dead letters.
//!
//! After cancellation nothing new is pulled, what waits for its turn is given back, and what is under way is settled.

mod engine;
mod lane;
mod lanes;
mod notices;
mod pace;
mod pump;
mod results;
mod route;
mod steps;

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    bus::{Bus, Work},
    config, egress,
    wire::PARTITIONS,
};

/// The role that delivers.
pub struct Deliver;

impl Deliver {
    /// Starts the loops of all partitions on `tasks`. They end after `cancel`, once what is under way is settled;
    /// `tasks` must be awaited for that, and whoever awaits has the deadline.
    pub fn start(
        bus: Bus,
        egress: egress::Client,
        config: &config::Deliver,
        bus_cfg: &config::Bus,
        tasks: &TaskTracker,
        cancel: CancellationToken,
    ) {
        let notices = Arc::new(notices::Notices::new(bus.clone()));
        let engine = engine::Engine::new(bus.clone(), egress, Arc::clone(&notices), config, cancel.clone());
        let engine = Arc::new(engine);
        let cancelled = cancel.clone();
        tasks.spawn(async move { notices.run(cancelled).await });
        for partition in 0..PARTITIONS {
            let results = results::start(bus.clone(), partition, bus_cfg, tasks, cancel.clone());
            for work in [Work::Message, Work::Retry] {
                let pull = bus.pull(work, partition, cancel.clone());
                let pump = pump::Pump {
                    work,
                    pull,
                    engine: Arc::clone(&engine),
                    results: results.clone(),
                    tasks: tasks.clone(),
                    cancel: cancel.clone(),
                };
                tasks.spawn(pump.run());
            }
        }
    }
}
