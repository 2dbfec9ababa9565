//! Which sessions this node runs.

use std::{collections::HashMap, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::watch,
    task::{Id, JoinSet},
    time::{Instant, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{
    context::Context,
    fetch::Fetch,
    files::Open,
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

/// The ingest role.
pub struct Ingest {
    context: Arc<Context>,
    identity: NodeIdentity,
    cancel: CancellationToken,
    /// Sessions as their owners want them; each running one watches its own.
    wanted: HashMap<SessionId, watch::Sender<Session>>,
    running: HashMap<Id, SessionId>,
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
        make_private(&settings.sessions_dir)?;
        let context = Context::new(bus, settings, fetch, open).await?;
        let ingest = Self {
            context: Arc::new(context),
            identity: NodeIdentity::new(),
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
                }
            }
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

    /// Takes every session that no node runs.
    async fn scan(&mut self) -> Result<(), bus::Error> {
        let now = Instant::now();
        self.paused.retain(|_, until| *until > now);
        let mine: Vec<SessionId> = self.running.values().copied().collect();
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
            self.take(id, &name, hold).await?;
        }
        Ok(())
    }

    /// Runs a session if its lease can be had.
    async fn take(&mut self, id: SessionId, name: &str, hold: Hold) -> Result<(), bus::Error> {
        let folder = &self.context.settings.sessions_dir;
        let lock = match hold {
            Hold::Free => Lock::take(folder, id),
            Hold::Leased => Lock::take_existing(folder, id),
        };
        let node = self.identity.lease_value(lock.as_ref());
        let bus = &self.context.bus;
        let lease = match (hold, &lock) {
            (Hold::Leased, None) => return Ok(()),
            (Hold::Leased, Some(lock)) => {
                let is_dead = |holder: &str| self.identity.holder_is_dead(holder, lock);
                bus.seize_lease(name, &node, is_dead).await?
            }
            (Hold::Free, _) => bus.acquire_lease(name, &node).await?,
        };
        let Some(lease) = lease else {
            // Another machine runs it, on files that were here once. The pause spares the bus the
            // same question at every scan.
            self.paused.insert(id, Instant::now() + FAILURE_PAUSE);
            return Ok(());
        };
        let Some(wanted) = self.wanted.get(&id).map(watch::Sender::subscribe) else {
            return Ok(());
        };
        let client = wanted.borrow().client_id;
        // An error span, so that no filter takes the ids from a session's log lines.
        let span = tracing::error_span!("session", session.id = %id, client.id = %client);
        let session = SessionTask {
            context: Arc::clone(&self.context),
            wanted,
            lease: Arc::new(lease),
            lock,
            tasks: self.tasks.clone(),
            cancel: self.cancel.clone(),
        };
        let run = session.run().instrument(span);
        let task = self
            .tasks
            .once_in(&mut self.sessions, TaskKind::Session, run);
        self.running.insert(task.id(), id);
        Ok(())
    }

    fn ended(&mut self, ended: Result<(Id, End), tokio::task::JoinError>) {
        let (task, end) = ended.unwrap_or_else(|error| (error.id(), End::Cancelled));
        let Some(id) = self.running.remove(&task) else {
            return;
        };
        let pause = if end == End::Ok {
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
