//! Which jobs this node does.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{
    task::{Id, JoinSet},
    time::{interval, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Error, release, resend};
use crate::{
    bus::{Bus, JobChanges, LEASE_TTL, Lease},
    model::{ClientId, Job, JobId, JobWork, Timestamp},
    store::Store,
    tasks::{End, TaskKind, Tasks},
    telemetry,
};

/// How soon a new job is seen to.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How often a job is tried that another node does, in case that node died.
const TRY_EVERY: Duration = Duration::from_secs(3);
const RENEW_EVERY: Duration = Duration::from_secs(LEASE_TTL.as_secs() / 4);
const WATCH_PAUSE: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

type Key = (ClientId, JobId);

/// What a job needs.
pub(super) struct Context {
    pub(super) bus: Bus,
    pub(super) store: Arc<dyn Store>,
    pub(super) cancel: CancellationToken,
    /// This process, for whoever reads the leases.
    node: String,
}

/// Watches jobs and starts those that are due.
pub(super) struct Supervisor {
    context: Arc<Context>,
    jobs_max: usize,
    /// Jobs that are not over, and when each was last tried here.
    active: HashMap<Key, (Job, Option<Instant>)>,
    running: JoinSet<End>,
    tasks: Tasks,
    keys: HashMap<Id, Key>,
}

impl Supervisor {
    pub(super) fn new(
        bus: Bus,
        store: Arc<dyn Store>,
        jobs_max: usize,
        tasks: Tasks,
        cancel: CancellationToken,
    ) -> Self {
        let context = Context {
            bus,
            store,
            cancel,
            node: Uuid::now_v7().to_string(),
        };
        let active = HashMap::new();
        let keys = HashMap::new();
        Self {
            context: Arc::new(context),
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
        let mut ticks = interval(LOOK_EVERY);
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
                tracing::error!(task.end = end, "a job died; some node takes it up again");
                id
            }
            Err(error) => error.id(),
        };
        self.keys.remove(&id);
    }

    /// Starts what is due and fits.
    fn start(&mut self, now: Instant) {
        let busy: HashSet<Key> = self.keys.values().copied().collect();
        for key in due(
            &self.active,
            &busy,
            now,
            self.jobs_max.saturating_sub(busy.len()),
        ) {
            let Some((job, tried)) = self.active.get_mut(&key) else {
                continue;
            };
            *tried = Some(now);
            let work = Arc::clone(&self.context).take(job.clone());
            let handle = self.tasks.once_in(&mut self.running, TaskKind::Job, work);
            self.keys.insert(handle.id(), key);
        }
    }
}

/// The jobs to try now, at most `room` of them: of a client's replays only the oldest.
fn due(
    active: &HashMap<Key, (Job, Option<Instant>)>,
    busy: &HashSet<Key>,
    now: Instant,
    room: usize,
) -> Vec<Key> {
    let mut all: Vec<_> = active.iter().collect();
    all.sort_by_key(|(key, (job, _))| (job.created_at, **key));
    let mut served = HashSet::new();
    all.retain(|(_, (job, _))| job.is_release() || served.insert(job.client_id));
    let is_due =
        |tried: Option<Instant>| tried.is_none_or(|tried| now.duration_since(tried) >= TRY_EVERY);
    let due = all
        .into_iter()
        .filter(|(key, (_, tried))| !busy.contains(key) && is_due(*tried));
    due.map(|(key, _)| *key).take(room).collect()
}

impl Context {
    pub(super) fn now(&self) -> Timestamp {
        Timestamp::from_system(SystemTime::now())
    }

    /// Does a job, unless another node does.
    async fn take(self: Arc<Self>, job: Job) {
        let kind = if job.is_release() {
            "release"
        } else {
            "replay"
        };
        let name = format!("{kind}.{}.{}", job.client_id, job.id);
        let lease = match self.bus.acquire_lease(&name, &self.node).await {
            Ok(Some(lease)) => lease,
            Ok(None) => return,
            Err(error) => return tracing::warn!(%error, "the lease of a job was not to be had"),
        };
        let _running = Running::new(kind);
        tokio::select! {
            () = self.work(&job) => {}
            // Another may be at it now: not one step more.
            () = keep(&lease) => tracing::warn!(job = %job.id, "the lease of a job was lost"),
        }
        lease.release().await;
    }

    /// Until the job is over or this node stops; trouble is waited out.
    async fn work(&self, job: &Job) {
        let mut pause = FIRST_PAUSE;
        while !self.cancel.is_cancelled() {
            match self.step(job).await {
                Ok(()) => return,
                Err(error) => {
                    telemetry::error("replay", "job");
                    let told = error.told();
                    let error = telemetry::report(&error);
                    tracing::warn!(job = %job.id, error, "a job waits");
                    // Should the bus not take it: it is no more than a word to its owner.
                    let _ = self
                        .bus
                        .jobs()
                        .change(job, |job| job.error = Some(told.to_owned()))
                        .await;
                }
            }
            tokio::select! {
                () = self.cancel.cancelled() => {}
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// From where the bucket says it is.
    async fn step(&self, job: &Job) -> Result<(), Error> {
        let now = self.now();
        let begun = self.bus.jobs().change(job, |job| {
            if job.state.is_active() {
                job.started_at.get_or_insert(now);
            }
        });
        let Some(job) = begun.await?.filter(|job| job.state.is_active()) else {
            return Ok(());
        };
        match job.work.clone() {
            JobWork::Replay {
                filter,
                rate_per_second,
                ..
            } => resend::run(self, job, &filter, rate_per_second).await,
            JobWork::Release { webhook, phone, .. } => {
                release::run(self, job, webhook, &phone).await
            }
        }
    }
}

/// Ends when the lease is lost.
async fn keep(lease: &Lease) {
    loop {
        sleep(RENEW_EVERY).await;
        match lease.renew().await {
            Ok(true) => {}
            Ok(false) => return,
            Err(_) if !lease.is_valid() => return,
            Err(error) => tracing::debug!(%error, "renewing the lease of a job again"),
        }
    }
}

/// Counts a job as running, whatever ends it.
struct Running(&'static str);

impl Running {
    fn new(kind: &'static str) -> Self {
        telemetry::jobs_running(kind, 1);
        Self(kind)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        telemetry::jobs_running(self.0, -1);
    }
}

#[cfg(test)]
mod tests;
