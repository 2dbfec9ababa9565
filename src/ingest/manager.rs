//! Which sessions this node runs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::watch,
    task::{Id, JoinHandle, JoinSet},
    time::{Instant, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    context::Context,
    fetch::Fetch,
    files::Open,
    holders::{Holders, attend},
    lock::{Lock, NodeIdentity},
    session::SessionTask,
};
use crate::{
    bus::{self, Bus, SessionChanges},
    config,
    model::{Session, SessionId},
    tasks::{End, TaskKind, Tasks},
};

/// How often the node looks for sessions that no node runs.
const SCAN_INTERVAL: Duration = Duration::from_secs(2);
/// The same while nodes share the sessions, and while one of them stops.
const SHARED_SCAN_INTERVAL: Duration = Duration::from_secs(1);
const HANDOVER_SCAN_INTERVAL: Duration = Duration::from_millis(200);
/// How long this node takes at most to tell the others that it stops.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Before the sessions are watched again.
const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// Before a session that failed here is tried again.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);
/// Whether some node has a session's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hold {
    Free,
    Leased,
}

/// A session that this node runs.
struct Running {
    id: SessionId,
    /// Lets it go to another node.
    let_go: CancellationToken,
}

/// The ingest role.
pub struct Ingest {
    context: Arc<Context>,
    identity: NodeIdentity,
    cancel: CancellationToken,
    /// Sessions as their owners want them; each running one watches its own.
    wanted: HashMap<SessionId, watch::Sender<Session>>,
    running: HashMap<Id, Running>,
    /// The nodes that share the sessions, if their keys are in JetStream.
    holders: Option<Holders>,
    paused: HashMap<SessionId, Instant>,
    sessions: JoinSet<End>,
    tasks: Tasks,
}

impl Ingest {
    /// Starts the role. It ends when `cancel` is cancelled and every session has given its lease
    /// back. `fetch` gets files to send, `open` opens the storage of a session's keys.
    ///
    /// # Errors
    /// When the folder for sessions cannot be made, or the bus does not answer.
    pub async fn start(
        bus: Bus,
        settings: &config::WhatsApp,
        fetch: Fetch,
        open: Open,
        tasks: &Tasks,
        cancel: CancellationToken,
    ) -> anyhow::Result<()> {
        let context = Context::new(bus, settings, fetch, open).await?;
        if let Some(folder) = context.storage.folder() {
            make_private(folder)?;
        }
        let identity = NodeIdentity::new();
        let is_shared = context.storage.folder().is_none();
        let holders = is_shared.then(|| Holders::new(identity.name()));
        let ingest = Self {
            context: Arc::new(context),
            identity,
            holders,
            cancel,
            wanted: HashMap::new(),
            running: HashMap::new(),
            paused: HashMap::new(),
            sessions: JoinSet::new(),
            tasks: tasks.clone(),
        };
        let until = ingest.cancel.clone();
        tasks.run(TaskKind::SessionManager, &until, ingest.run());
        Ok(())
    }

    async fn run(mut self) {
        let cancel = self.cancel.clone();
        let stopping = CancellationToken::new();
        let attending = self.holders.is_some().then(|| self.attend(&stopping));
        let mut scan = interval(SCAN_INTERVAL);
        let mut changes: Option<SessionChanges> = None;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                change = next_change(&self.context.bus, &mut changes) => match change {
                    Ok(change) => {
                        if self.note(change) {
                            scan.reset_immediately();
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "watching the sessions again");
                        changes = None;
                        sleep(WATCH_PAUSE).await;
                    }
                },
                Some(ended) = self.sessions.join_next_with_id() => self.ended(ended),
                _ = scan.tick() => {
                    if let Err(error) = self.scan().await {
                        tracing::warn!(%error, "looking for sessions again later");
                    }
                    scan.reset_after(self.scan_interval());
                }
            }
        }
        // The others look out for what becomes free.
        stopping.cancel();
        if let Some(attending) = attending {
            let _ = timeout(LEAVE_TIMEOUT, attending).await;
        }
        // Each sees the same token, flushes its keys and gives its lease back.
        while self.sessions.join_next().await.is_some() {}
    }

    /// Notes a change; whether there may be a session to start.
    fn note(&mut self, change: Result<Session, SessionId>) -> bool {
        match change {
            Ok(session) => {
                self.paused.remove(&session.id);
                let sender = self
                    .wanted
                    .entry(session.id)
                    .or_insert_with(|| watch::Sender::new(session.clone()));
                sender.send_if_modified(|known| {
                    let changed = *known != session;
                    *known = session;
                    changed
                });
                true
            }
            Err(id) => {
                self.wanted.remove(&id);
                false
            }
        }
    }

    fn attend(&self, stopping: &CancellationToken) -> JoinHandle<()> {
        let bus = self.context.bus.clone();
        let name = self.identity.name().to_owned();
        let until = stopping.clone();
        self.tasks.keep(TaskKind::NodeLease, stopping, move || {
            attend(bus.clone(), name.clone(), until.clone())
        })
    }

    fn scan_interval(&self) -> Duration {
        let now = Instant::now().into_std();
        match &self.holders {
            None => SCAN_INTERVAL,
            Some(holders) if holders.has_leaving(now) => HANDOVER_SCAN_INTERVAL,
            Some(_) => SHARED_SCAN_INTERVAL,
        }
    }

    /// Lets sessions go that are above this node's share, a few at a time.
    fn let_go(&self) {
        let Some(holders) = &self.holders else {
            return;
        };
        let share = holders.settled_share(self.wanted.len(), Instant::now().into_std());
        let kept = self.running.values();
        let kept: Vec<_> = kept.filter(|one| !one.let_go.is_cancelled()).collect();
        let above = kept.len().saturating_sub(share);
        let at_once = usize::try_from(self.context.settings.connects_per_second).unwrap_or(1);
        for one in kept.into_iter().take(above.min(at_once)) {
            tracing::info!(session.id = %one.id, "a session goes to another node");
            one.let_go.cancel();
        }
    }

    /// How many more sessions this node may run.
    fn room(&self) -> usize {
        let share = match &self.holders {
            Some(holders) => holders.share(self.wanted.len(), Instant::now().into_std()),
            None => usize::MAX,
        };
        share.saturating_sub(self.running.len())
    }

    /// Takes every session that no node runs, or this node's share of them.
    async fn scan(&mut self) -> Result<(), bus::Error> {
        let now = Instant::now();
        self.paused.retain(|_, until| *until > now);
        if let Some(holders) = &mut self.holders {
            holders.look(&self.context.bus).await?;
            self.let_go();
        }
        let mine: Vec<SessionId> = self.running.values().map(|one| one.id).collect();
        let is_free = |id: &SessionId| !mine.contains(id) && !self.paused.contains_key(id);
        let free: Vec<SessionId> = self.wanted.keys().copied().filter(is_free).collect();
        if free.is_empty() {
            return Ok(());
        }
        let leases = self.context.bus.leases().await?;
        for id in free {
            let name = format!("session.{id}");
            let hold = if leases.contains(&name) {
                Hold::Leased
            } else {
                Hold::Free
            };
            if self.room() > 0 {
                self.take(id, &name, hold).await?;
            }
        }
        Ok(())
    }

    /// Takes a session's lease if nobody alive has it. Nodes that share the sessions have no locks.
    async fn take_shared_lease(
        &self,
        holders: &Holders,
        name: &str,
        hold: Hold,
    ) -> Result<Option<bus::Lease>, bus::Error> {
        let now = Instant::now().into_std();
        let node = self.identity.name();
        let bus = &self.context.bus;
        match hold {
            Hold::Free => bus.acquire_lease(name, node).await,
            Hold::Leased if holders.has_dead(now) => {
                let is_dead = |holder: &str| holders.is_dead(holder, now);
                bus.seize_lease(name, node, is_dead).await
            }
            Hold::Leased => Ok(None),
        }
    }

    /// Takes a session's lease, and its lock if there are files.
    async fn take_lease(
        &mut self,
        id: SessionId,
        name: &str,
        hold: Hold,
    ) -> Result<Option<(bus::Lease, Option<Lock>)>, bus::Error> {
        if let Some(holders) = &self.holders {
            let lease = self.take_shared_lease(holders, name, hold).await?;
            if lease.is_none() && hold == Hold::Free {
                self.paused.insert(id, Instant::now() + SCAN_INTERVAL);
            }
            return Ok(lease.map(|lease| (lease, None)));
        }
        let folder = &self.context.settings.sessions_dir;
        let lock = match hold {
            Hold::Free => Lock::take(folder, id),
            Hold::Leased => Lock::take_existing(folder, id),
        };
        let node = self.identity.lease_value(lock.as_ref());
        let bus = &self.context.bus;
        let lease = match (hold, &lock) {
            (Hold::Leased, None) => return Ok(None),
            (Hold::Leased, Some(lock)) => {
                let is_dead = |holder: &str| self.identity.holder_is_dead(holder, lock);
                bus.seize_lease(name, &node, is_dead).await?
            }
            (Hold::Free, _) => bus.acquire_lease(name, &node).await?,
        };
        if lease.is_none() {
            // Another machine runs it, on files that were here once. The pause spares the bus the
            // same question at every scan.
            self.paused.insert(id, Instant::now() + FAILURE_PAUSE);
        }
        Ok(lease.map(|lease| (lease, lock)))
    }

    /// Runs a session if its lease can be had.
    async fn take(&mut self, id: SessionId, name: &str, hold: Hold) -> Result<(), bus::Error> {
        let Some((lease, lock)) = self.take_lease(id, name, hold).await? else {
            return Ok(());
        };
        let Some(wanted) = self.wanted.get(&id).map(watch::Sender::subscribe) else {
            return Ok(());
        };
        let client = wanted.borrow().client_id;
        // An error span, so that no filter takes the ids from a session's log lines.
        let span = tracing::error_span!("session", session.id = %id, client.id = %client);
        let let_go = self.cancel.child_token();
        let session = SessionTask {
            context: Arc::clone(&self.context),
            wanted,
            lease: Arc::new(lease),
            lock,
            tasks: self.tasks.clone(),
            cancel: let_go.clone(),
        };
        let run = session.run().instrument(span);
        let task = self
            .tasks
            .once_in(&mut self.sessions, TaskKind::Session, run);
        self.running.insert(task.id(), Running { id, let_go });
        Ok(())
    }

    fn ended(&mut self, ended: Result<(Id, End), tokio::task::JoinError>) {
        let (task, end) = ended.unwrap_or_else(|error| (error.id(), End::Cancelled));
        let Some(Running { id, let_go }) = self.running.remove(&task) else {
            return;
        };
        let pause = if end == End::Ok && let_go.is_cancelled() {
            // Others go first.
            FAILURE_PAUSE
        } else if end == End::Ok {
            SCAN_INTERVAL
        } else {
            let end = end.as_str();
            tracing::error!(session.id = %id, task.end = end, "a session is started again");
            FAILURE_PAUSE
        };
        self.paused.insert(id, Instant::now() + pause);
    }
}

async fn next_change(
    bus: &Bus,
    changes: &mut Option<SessionChanges>,
) -> Result<Result<Session, SessionId>, bus::Error> {
    if changes.is_none() {
        *changes = Some(bus.sessions().watch().await?);
    }
    match changes {
        Some(changes) => changes.next().await,
        None => std::future::pending().await,
    }
}

fn make_private(folder: &std::path::Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder);
    made.with_context(|| format!("creating whatsapp.sessions_dir {}", folder.display()))
}
