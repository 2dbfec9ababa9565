//! Takes messages from the bus to customers' endpoints.
//!
//! Nodes share the partitions. `assignment` knows which belong to this node. One node alone serves
//! an endpoint, so its limiter is exact. For each partition two loops pull: new messages and due
//! retries. Each message becomes a task that holds one of its loop's slots until it is settled. So
//! the messages in memory are bounded, and a task that panics gives its slot back.
//!
//! `process` takes a message through its stages: `route` finds its webhook; `chat` keeps the order
//! of a chat's messages where the webhook asks for it; `admit` waits for the limits of the endpoint
//! and of the node; `attempt` makes the request and does what the verdict asks for. A message that
//! cannot go soon is parked on a schedule (`postpone`), which is no attempt. Each stage answers
//! with what the next one needs, or with how the message is settled now (`settle`).
//!
//! `results` publishes attempts in groups, and only then acks their messages. A retry is parked, a
//! failure is in the dead letters, and the attempt is durable, before its message is acked. A crash
//! in between repeats an attempt and loses none.
//!
//! `limiter` holds what one endpoint gets: its rate, its requests in flight, its breaker. An
//! endpoint that hangs is noticed by the age of its oldest progress, not only by answers, so its
//! messages are parked before they fill a loop.
//!
//! `notices` informs the client's operational webhook: a webhook was disabled, there are many dead
//! letters. `health` disables a webhook that is gone or has failed for days.
//!
//! The server gives up a message that it has handed out ten times and that was never settled.
//! `abandoned` is notified, puts it into the dead letters and removes it from its stream.
//!
//! After cancellation nothing new is pulled. Messages that are not attempted yet are given back in
//! their order (`handover`), and those in flight are settled.

mod abandoned;
mod admit;
mod arrival;
mod assignment;
mod attempt;
mod backpressure;
mod bring_forward;
mod chat;
mod engine;
mod handover;
mod health;
mod limiter;
mod notices;
mod places;
mod postpone;
mod process;
mod pull_loop;
mod results;
mod route;
mod settle;
mod shared;
mod steps;
mod taken_up;
mod too_large;

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{Bus, Error, Work, patiently},
    config::Config,
    egress,
    tasks::{TaskKind, Tasks},
};

/// The role that delivers.
pub struct Deliver;

impl Deliver {
    /// Joins the nodes that deliver and starts this one's share of the partitions on `tasks`. All
    /// ends after `cancel`, once what is in flight is settled; `tasks` must be awaited for that,
    /// and the caller has the deadline. `node` is a name that no other node has.
    ///
    /// # Errors
    /// When the bus does not answer, or has another number of partitions than the settings say.
    pub async fn start(
        bus: Bus,
        node: &str,
        egress: egress::Client,
        config: &Config,
        tasks: &Tasks,
        cancel: CancellationToken,
    ) -> Result<(), Error> {
        let deliver = &config.deliver;
        let settings = &config.bus;
        let membership = bus.join(node, tasks).await?;
        // Only now: a change of the number checks which nodes have joined.
        patiently(async || bus.ensure_partitions().await).await?;
        let last_owner = if patiently(async || membership.is_first().await).await? {
            shared::LastOwner::Nobody
        } else {
            shared::LastOwner::AnotherNode
        };
        let notices = Arc::new(notices::Notices::new(bus.clone()));
        let telling = Arc::clone(&notices);
        let cancelled = cancel.clone();
        tasks.keep(TaskKind::Notices, &cancel, move || {
            let telling = Arc::clone(&telling);
            let cancelled = cancelled.clone();
            async move { telling.run(cancelled).await }
        });
        let giving_up = (bus.clone(), Arc::clone(&notices), cancel.clone());
        tasks.keep(TaskKind::Advisories, &cancel, move || {
            let (bus, notices, cancel) = giving_up.clone();
            abandoned::run(bus.pull(Work::Advisory, 0, cancel), bus, notices)
        });
        let results = results::start(bus.clone(), settings, tasks, cancel.clone());
        let ack_wait = settings.ack_wait;
        let health = health::Health::new(bus.clone(), Arc::clone(&notices), deliver.disable_after);
        let shared = shared::Shared {
            bus,
            egress,
            notices,
            deliver: deliver.clone(),
            results,
            ack_wait,
            membership,
            places: Arc::new(places::Places::new(deliver.in_flight_max)),
            memory: Arc::new(taken_up::Memory::new(
                usize::try_from(deliver.memory_max).unwrap_or(usize::MAX),
            )),
            tasks: tasks.clone(),
            health,
            backpressure: watch::Sender::new(shared::Backpressure::Open),
        };
        let shared = Arc::new(shared);
        let watched = (Arc::clone(&shared), cancel.clone());
        tasks.keep(TaskKind::Backpressure, &cancel, move || {
            let (shared, cancel) = watched.clone();
            backpressure::watch(shared, cancel)
        });
        let assignment = assignment::run(shared, last_owner, cancel.clone());
        tasks.run(TaskKind::Assignment, &cancel, assignment);
        Ok(())
    }
}
