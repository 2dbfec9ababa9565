//! Chooses the jobs that this node does.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    task::{Id, JoinSet},
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{context::Context, run};
use crate::{
    bus::{Bus, JobChanges},
    model::{ClientId, Job, JobId},
    store::Store,
    tasks::{End, TaskKind, Tasks},
    telemetry,
};

/// How soon a new job begins.
const CHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How often this node tries to take a job of another node, which may have died.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);
/// The pause before a new watch.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

type Key = (ClientId, JobId);

/// What a job does. Each kind has places of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Replay,
    Release,
}

impl Work {
    fn of(job: &Job) -> Self {
        if job.is_release() {
            Self::Release
        } else {
            Self::Replay
        }
    }
}

/// The jobs that run on this node.
#[derive(Debug, Default)]
struct Busy {
    keys: HashSet<Key>,
    replay_count: usize,
    release_count: usize,
}

impl Busy {
    fn new(running: impl Iterator<Item = (Key, Work)>) -> Self {
        let mut busy = Self::default();
        for (key, work) in running {
            busy.keys.insert(key);
            match work {
                Work::Replay => busy.replay_count += 1,
                Work::Release => busy.release_count += 1,
            }
        }
        busy
    }
}

/// Watches jobs and starts those that are due.
pub(super) struct Supervisor {
    context: Arc<Context>,
    jobs_max: usize,
    /// Jobs that are not over, and when each was last tried here.
    active: HashMap<Key, (Job, Option<Instant>)>,
    running: JoinSet<End>,
    tasks: Tasks,
    keys: HashMap<Id, (Key, Work)>,
}

impl Supervisor {
    pub(super) fn new(
        bus: Bus,
        store: Arc<dyn Store>,
        jobs_max: usize,
        tasks: Tasks,
        cancel: CancellationToken,
    ) -> Self {
        let active = HashMap::new();
        let keys = HashMap::new();
        Self {
            context: Arc::new(Context::new(bus, store, cancel)),
            jobs_max,
            active,
            running: JoinSet::new(),
            tasks,
            keys,
        }
    }

    pub(super) async fn run(mut self) {
        let cancel = self.context.cancel.clone();
        while !cancel.is_cancelled() {
            match self.context.bus.jobs().watch().await {
                Ok(changes) => {
                    self.active.clear();
                    self.follow(changes).await;
                }
                Err(error) => tracing::warn!(%error, "watching jobs again"),
            }
            tokio::select! {
                () = cancel.cancelled() => {}
                () = sleep(WATCH_PAUSE) => {}
            }
        }
        // Each ends at the next place from which another node can go on.
        while self.running.join_next().await.is_some() {}
    }

    /// Until the watch breaks, or this node stops.
    async fn follow(&mut self, mut changes: JobChanges) {
        let cancel = self.context.cancel.clone();
        let mut ticks = interval(CHECK_INTERVAL);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(ended) = self.running.join_next_with_id() => self.ended(ended),
                _ = ticks.tick() => self.start(Instant::now()),
                change = changes.next() => match change {
                    Ok(job) => self.note(job),
                    Err(error) => return tracing::warn!(%error, "watching jobs again"),
                },
            }
        }
    }

    fn note(&mut self, job: Job) {
        let key = (job.client_id, job.id);
        if !job.state.is_active() {
            self.active.remove(&key);
            return;
        }
        let tried = self.active.get(&key).and_then(|(_, tried)| *tried);
        self.active.insert(key, (job, tried));
    }

    fn ended(&mut self, ended: Result<(Id, End), tokio::task::JoinError>) {
        let id = match ended {
            Ok((id, End::Ok)) => id,
            Ok((id, end)) => {
                telemetry::error("replay", "job");
                let end = end.as_str();
                tracing::error!(task.end = end, "a job died; a node takes it up again");
                id
            }
            Err(error) => error.id(),
        };
        self.keys.remove(&id);
    }

    /// Starts what is due and fits.
    fn start(&mut self, now: Instant) {
        let busy = Busy::new(self.keys.values().copied());
        for key in due(&self.active, &busy, now, self.jobs_max) {
            let Some((job, tried)) = self.active.get_mut(&key) else {
                continue;
            };
            *tried = Some(now);
            let kind = Work::of(job);
            let work = run::take(Arc::clone(&self.context), job.clone());
            let handle = self.tasks.once_in(&mut self.running, TaskKind::Job, work);
            self.keys.insert(handle.id(), (key, kind));
        }
    }
}

/// The jobs to try now: of a client's replays only the oldest. Replays and releases have `jobs_max`
/// places each, so that no release waits behind replays.
fn due(
    active: &HashMap<Key, (Job, Option<Instant>)>,
    busy: &Busy,
    now: Instant,
    jobs_max: usize,
) -> Vec<Key> {
    let mut all: Vec<_> = active.iter().collect();
    all.sort_by_key(|(key, (job, _))| (job.created_at, **key));
    let mut served = HashSet::new();
    all.retain(|(_, (job, _))| job.is_release() || served.insert(job.client_id));
    let mut replay_room = jobs_max.saturating_sub(busy.replay_count);
    let mut release_room = jobs_max.saturating_sub(busy.release_count);
    let is_due = |tried: Option<Instant>| {
        tried.is_none_or(|tried| now.duration_since(tried) >= RETRY_INTERVAL)
    };
    let mut due = Vec::new();
    for (key, (job, tried)) in all {
        let room = match Work::of(job) {
            Work::Replay => &mut replay_room,
            Work::Release => &mut release_room,
        };
        if *room > 0 && !busy.keys.contains(key) && is_due(*tried) {
            *room -= 1;
            due.push(*key);
        }
    }
    due
}

#[cfg(test)]
mod tests;
