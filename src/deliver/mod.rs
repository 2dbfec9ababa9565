//! Takes messages from the bus to customers' endpoints.
//!
//! Nodes share the partitions: `assignment` knows which are this node's, so that one node alone
//! serves an endpoint, and its lane is exact for all of them. For each partition two loops pull:
//! new messages and due retries. Each message becomes a task that holds one of its loop's slots
//! until it is settled, so what lies in memory is bounded, and a task that dies gives its slot
//! back.
//!
//! The way of one message: `route` finds its webhook; a `lane` per webhook decides whether it may
//! go now, after a short wait, or later (parked on a schedule, which is no attempt); `engine` makes
//! the attempt and does what the verdict asks for; `results` publishes attempts in groups and only
//! then acks. The order is what keeps promises: a retry is parked, a failure is in the dead
//! letters, and the attempt is durable, before the message is acked. A crash in between repeats an
//! attempt and loses none.
//!
//! A lane is what one endpoint gets: its rate, its requests under way, its breaker. An endpoint
//! that hangs is noticed by the age of its oldest progress, not only by answers, so that its
//! messages get parked before they fill a loop.
//!
//! `notices` tells the client's operational webhook what it has to know: a webhook that was
//! disabled, many dead letters.
//!
//! A message that is handed out again and again and never settled is given up by the server.
//! `abandoned` hears of it, puts it into the dead letters and takes it out of its stream. `health`
//! disables a webhook that is gone or has failed for days; `chat::order` keeps the order of a chat
//! where a webhook asks for it, and `chat::sweep` finds lines that nobody works on.
//!
//! After cancellation nothing new is pulled, what waits for its turn is given back, and what is
//! under way is settled.

mod abandoned;
mod arrival;
mod assignment;
mod attempt;
mod backpressure;
mod chat;
mod engine;
mod health;
mod limiter;
mod notices;
mod postpone;
mod pull_loop;
mod results;
mod route;
mod settle;
mod shared;
mod steps;

use std::sync::Arc;

use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{Bus, Error, Work},
    config, egress,
    tasks::{TaskKind, Tasks},
};

/// The role that delivers.
pub struct Deliver;

impl Deliver {
    /// Joins the nodes that deliver and starts this one's share of the partitions on `tasks`. All
    /// ends after `cancel`, once what is under way is settled; `tasks` must be awaited for that,
    /// and the caller has the deadline. `node` is a name that no other node has.
    ///
    /// # Errors
    /// When the bus does not answer, or has another number of partitions than the settings say.
    pub async fn start(
        bus: Bus,
        node: &str,
        egress: egress::Client,
        deliver: &config::Deliver,
        settings: &config::Bus,
        tasks: &Tasks,
        cancel: CancellationToken,
    ) -> Result<(), Error> {
        let membership = bus.join(node, tasks).await?;
        // Only now: a change of the number checks which nodes have joined.
        bus.ensure_partitions().await?;
        let first = membership.is_first().await?;
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
            permits: Arc::new(Semaphore::new(deliver.in_flight_max)),
            tasks: tasks.clone(),
            chat_queue_bytes_max: u64::try_from(settings.message_bytes_max).unwrap_or(u64::MAX),
            health,
            backpressure: watch::Sender::new(shared::Backpressure::Open),
        };
        let shared = Arc::new(shared);
        let watched = (Arc::clone(&shared), cancel.clone());
        tasks.keep(TaskKind::Backpressure, &cancel, move || {
            let (shared, cancel) = watched.clone();
            backpressure::watch(shared, cancel)
        });
        let assignment = assignment::run(shared, first, cancel.clone());
        tasks.run(TaskKind::Assignment, &cancel, assignment);
        Ok(())
    }
}
