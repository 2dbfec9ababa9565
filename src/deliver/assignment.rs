//! Which partitions this node runs.
//!
//! Every node that delivers sees the same others, and so computes the same owners. A partition that
//! now belongs to another node is let go of in order: nothing new begins, what is in flight ends or
//! has had its time, and only then does the pin go, for which the new owner already waits. The
//! partitions of a dead node are pulled as soon as its silence is noticed.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{
    chat::Sweep,
    engine::Engine,
    pull_loop::PullLoop,
    shared::{LastOwner, Shared},
};
use crate::{bus::Work, policy, tasks::TaskKind, telemetry};

/// A partition that runs here.
struct Running {
    cancel: CancellationToken,
    loops: Vec<JoinHandle<()>>,
}

/// Runs this node's share until cancelled.
///
/// `last_owner` is who had the partitions that this node takes at once.
pub(super) async fn run(shared: Arc<Shared>, last_owner: LastOwner, cancel: CancellationToken) {
    let mut members = shared.membership.members();
    let mut running = BTreeMap::new();
    let mut last_owner = last_owner;
    loop {
        let nodes = members.borrow_and_update().clone();
        reconcile(&shared, &nodes, &mut running, last_owner, &cancel).await;
        // What it takes later was another node's.
        last_owner = LastOwner::AnotherNode;
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
    last_owner: LastOwner,
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
            start(shared, *partition, last_owner, cancel.child_token()),
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
            partitions = running.len(),
            ?gained,
            ?lost,
            "the partitions of this node changed"
        );
    }
    join_all(stopping.into_iter().map(Running::stop)).await;
}

/// Starts the loops of a partition.
fn start(
    shared: &Arc<Shared>,
    partition: u16,
    last_owner: LastOwner,
    cancel: CancellationToken,
) -> Running {
    let engine = Arc::new(Engine::new(Arc::clone(shared), cancel.clone()));
    let swept = (Arc::clone(shared), engine.chats(), cancel.clone());
    shared.tasks.keep(TaskKind::StalledChats, &cancel, move || {
        let (shared, chats, cancel) = swept.clone();
        Sweep::new(shared.bus.clone(), partition, chats, shared.ack_wait).run(cancel)
    });
    let loops = [Work::Message, Work::Retry].map(|work| {
        // The loop itself looks at `cancel`, so giving back is not cut short.
        let pull = shared.bus.pull(work, partition, CancellationToken::new());
        let pull = pull.of_member(shared.membership.clone());
        let engine = Arc::clone(&engine);
        let pull_loop = PullLoop::new(work, pull, engine, last_owner, cancel.clone());
        shared
            .tasks
            .run(TaskKind::PullLoop, &cancel, pull_loop.run())
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
