//! Which partitions this node runs.
//!
//! Every node that delivers sees the same others, and so computes the same owners. A partition that
//! is another's now is let go of in order: nothing new begins, what is under way ends or has had
//! its time, and only then does the pin go, for which the new owner waits already. One that was a
//! dead node's is pulled as soon as its silence is noticed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures_util::future::join_all;
use tokio::{
    sync::{Semaphore, mpsc, watch},
    task::JoinHandle,
    time::interval,
};
use tokio_util::sync::CancellationToken;

use super::{
    engine::Engine, health::Noting, notices::Notices, pump::Pump, results::Settled, sweep::Sweep,
};
use crate::{
    bus::{Bus, Membership, Work},
    config, egress, policy,
    tasks::{TaskKind, Tasks},
    telemetry,
};

const LOOK_EVERY: Duration = Duration::from_secs(2);

/// How full WA_CHAT may be, in tenths of its limit: what is in hand when that is noticed still
/// finds room.
const LINE_TENTHS: u64 = 9;

/// What all partitions of a node share.
pub(super) struct Shared {
    pub(super) bus: Bus,
    pub(super) notices: Arc<Notices>,
    pub(super) egress: egress::Client,
    pub(super) deliver: config::Deliver,
    /// Where attempts go that are over.
    pub(super) results: mpsc::Sender<Settled>,
    /// After how long without an ack a message is handed out again.
    pub(super) ack_wait: Duration,
    pub(super) membership: Membership,
    /// Requests under way on this node.
    pub(super) permits: Arc<Semaphore>,
    pub(super) tasks: Tasks,
    /// Bytes that may wait in lines.
    pub(super) chat_queue_bytes_max: u64,
    /// Which webhooks' health is being written.
    pub(super) noting: Noting,
    /// Whether more retries, and more who wait in lines, may be stored.
    pub(super) room: watch::Sender<bool>,
}

/// Watches how much the retries take, until cancelled.
pub(super) async fn watch_room(shared: Arc<Shared>, cancel: CancellationToken) {
    let mut ticks = interval(LOOK_EVERY);
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // While it cannot be told, nothing changes.
        let Ok(bytes) = shared.bus.retry_bytes().await else {
            continue;
        };
        telemetry::retry_bytes(bytes);
        let Ok(in_line) = shared.bus.chat_queue_bytes().await else {
            continue;
        };
        telemetry::chat_queue_bytes(in_line);
        let room = bytes < shared.deliver.retry_bytes_max
            && in_line < shared.chat_queue_bytes_max / 10 * LINE_TENTHS;
        if shared.room.send_replace(room) != room {
            tracing::warn!(
                bytes,
                in_line,
                room,
                "retries and deliver.retry_bytes_max, lines and bus.message_bytes_max"
            );
        }
    }
}

/// A partition that runs here.
struct Running {
    cancel: CancellationToken,
    loops: Vec<JoinHandle<()>>,
}

/// Runs this node's share until cancelled.
pub(super) async fn run(shared: Arc<Shared>, first: bool, cancel: CancellationToken) {
    let mut members = shared.membership.members();
    let mut running = BTreeMap::new();
    // Only what a node takes up at once may have been nobody's before.
    let mut fresh = first;
    loop {
        let nodes = members.borrow_and_update().clone();
        reconcile(&shared, &nodes, &mut running, fresh, &cancel).await;
        fresh = false;
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            changed = members.changed() => if changed.is_err() { break },
        }
    }
    // First, so that others stand by when the pins go.
    shared.membership.leave().await;
}

async fn reconcile(
    shared: &Arc<Shared>,
    nodes: &[String],
    running: &mut BTreeMap<u16, Running>,
    fresh: bool,
    cancel: &CancellationToken,
) {
    let partitions = shared.bus.partition_count();
    let owners = policy::owners(nodes, partitions);
    let name = shared.membership.name();
    let mine = |partition: u16| {
        owners
            .get(usize::from(partition))
            .is_some_and(|owner| nodes[*owner] == name)
    };
    let lost: Vec<u16> = running
        .keys()
        .copied()
        .filter(|partition| !mine(*partition))
        .collect();
    let gained =
        (0..partitions).filter(|partition| mine(*partition) && !running.contains_key(partition));
    let gained: Vec<u16> = gained.collect();
    for partition in &gained {
        running.insert(
            *partition,
            start(shared, *partition, fresh, cancel.child_token()),
        );
    }
    let stopping: Vec<Running> = lost
        .iter()
        .filter_map(|partition| running.remove(partition))
        .collect();
    shared.membership.runs(running.keys().copied().collect());
    telemetry::partitions_owned(running.len());
    if !gained.is_empty() || !lost.is_empty() {
        tracing::info!(
            nodes = nodes.len(),
            owned = running.len(),
            ?gained,
            ?lost,
            "partitions"
        );
    }
    join_all(stopping.into_iter().map(Running::stop)).await;
}

/// `fresh`: no other node ran it lately.
fn start(shared: &Arc<Shared>, partition: u16, fresh: bool, cancel: CancellationToken) -> Running {
    let engine = Arc::new(Engine::new(Arc::clone(shared), cancel.clone()));
    let swept = (Arc::clone(shared), engine.lines(), cancel.clone());
    shared.tasks.keep(TaskKind::StalledChats, &cancel, move || {
        let (shared, lines, cancel) = swept.clone();
        Sweep::new(shared.bus.clone(), partition, lines, shared.ack_wait).run(cancel)
    });
    let loops = [Work::Message, Work::Retry].map(|work| {
        let pump = Pump {
            work,
            // The loop itself looks at `cancel`: what is being given back then is not cut short.
            pull: shared.bus.pull(work, partition, CancellationToken::new()),
            engine: Arc::clone(&engine),
            tasks: shared.tasks.clone(),
            fresh,
            cancel: cancel.clone(),
        };
        shared.tasks.run(TaskKind::PullLoop, &cancel, pump.run())
    });
    Running {
        cancel,
        loops: loops.into(),
    }
}

impl Running {
    /// Returns once the pins are given back.
    async fn stop(self) {
        self.cancel.cancel();
        join_all(self.loops).await;
    }
}
