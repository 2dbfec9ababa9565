//! Jobs that send many deliveries again, and outlive the node that does it.
//!
//! A **replay** sends events that were given up (or delivered) once more: it reads them from the
//! store page by page ([`Scan`]), puts them into the retry stream at low priority and at a rate of
//! its own, stores its place after each page, and never gets more than some pages ahead of
//! what the webhook takes (`window`). A **release** sends what a webhook held while it was paused,
//! in order; what is sent is no longer held, so it goes on by itself wherever it stopped.
//!
//! Jobs are kept in a bucket. Every node with this role watches it; the one that takes a job's
//! lease does it (`supervisor`). A node that dies leaves a lease that ends within ten seconds, and
//! the next one goes on at the stored place: the few events behind it are published again under
//! the same ids, which the stream does not store twice.
//!
//! A client's replays run one after the other: two that overlap would send the same events twice,
//! since an event counts as given up until its new attempt is recorded. Releases wait for nobody.
//!
//! Nothing here is on the way of a delivery; the store may be down, and a job waits for it.
//!
//! `sweep` finds deliveries that the audit shows as waiting and that no stream has.

mod context;
mod error;
mod held_back;
mod lost;
mod pacer;
mod release;
mod resend;
mod run;
mod scan;
mod supervisor;
mod sweep;
mod window;

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::{
    bus::Bus,
    config,
    store::Store,
    tasks::{TaskKind, Tasks},
};

pub use error::Error;
pub use scan::{Count, Page, Scan, count};

/// The fastest a replay can be asked to go, in events per second.
pub const RATE_MAX: u32 = 1000;
/// Events that one replay takes at most.
pub const EVENTS_MAX: u64 = 1_000_000;
/// Replays of one client that are not over yet.
pub const ACTIVE_MAX: usize = 10;
/// Replays of one client that are kept, those that are over included.
pub const KEPT_MAX: usize = 100;

/// The role that does jobs.
pub struct Replay;

impl Replay {
    /// Starts doing jobs on `tasks`. They stop after `cancel`, each at a place from which another
    /// node goes on.
    pub fn start(
        bus: Bus,
        store: Arc<dyn Store>,
        settings: &config::Replay,
        tasks: &Tasks,
        cancel: CancellationToken,
    ) {
        let jobs_max = settings.jobs_max;
        let lost_after = settings.lost_after;
        let context = Arc::new(context::Context::new(
            bus.clone(),
            Arc::clone(&store),
            cancel.clone(),
        ));
        tasks.keep(TaskKind::LostSweep, &cancel, move || {
            sweep::Sweep::new(Arc::clone(&context), lost_after).run()
        });
        let releasing = (bus.clone(), cancel.clone());
        tasks.keep(TaskKind::HeldBack, &cancel, move || {
            let (bus, cancel) = releasing.clone();
            held_back::keep_releasing(bus, cancel)
        });
        let supervised = (bus, store, tasks.clone(), cancel.clone());
        tasks.keep(TaskKind::JobSupervisor, &cancel, move || {
            let (bus, store, tasks, cancel) = supervised.clone();
            supervisor::Supervisor::new(bus, store, jobs_max, tasks, cancel).run()
        });
    }
}
