//! Which sessions this node runs.

use std::{collections::HashMap, path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::{
    sync::{Mutex, Semaphore, watch},
    task::{Id, JoinSet},
    time::{Instant, interval, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use whatsapp_rust::{http::UreqHttpClient, version::fetch_latest_app_version};

use super::{
    files::Open,
    lock::{Lock, Name},
    media,
    send::Fetch,
    session::Running,
};
use crate::{
    bus::{self, Bus, SessionChanges},
    config,
    model::{Session, SessionId},
    tasks::{End, TaskKind, Tasks},
};

/// How often sessions without a node are looked for.
const SCAN_EVERY: Duration = Duration::from_secs(2);
/// Between two watches on the sessions.
const WATCH_PAUSE: Duration = Duration::from_secs(1);
/// A session that failed here is left alone for so long.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);
/// A version of WhatsApp Web is good for a day.
const VERSION_KEEP: Duration = Duration::from_secs(24 * 60 * 60);
const VERSION_PATIENCE: Duration = Duration::from_secs(20);

/// Files to send under way at once, each held in memory.
const FILES_MAX: usize = 8;

type Version = (u32, u32, u32);

/// What all sessions of a node share.
pub(super) struct Context {
    pub(super) bus: Bus,
    pub(super) settings: config::WhatsApp,
    pub(super) http: UreqHttpClient,
    pub(super) media_secret: Arc<[u8; 32]>,
    pub(super) fetch: Fetch,
    pub(super) open: Open,
    /// Files to send that are held in memory at once.
    pub(super) files: Semaphore,
    next_turn: Mutex<Instant>,
    version: Mutex<Option<(Instant, Version)>>,
}

impl Context {
    pub(super) fn folder(&self) -> PathBuf {
        self.settings.sessions_dir.clone()
    }

    /// Waits until this session may connect.
    pub(super) async fn turn(&self) {
        let at = {
            let mut next = self.next_turn.lock().await;
            let at = (*next).max(Instant::now());
            *next = at + Duration::from_secs(1) / self.settings.connects_per_second;
            at
        };
        sleep_until(at).await;
    }

    /// The version of WhatsApp Web to present: one request for all sessions.
    pub(super) async fn version(&self) -> anyhow::Result<Version> {
        if let Some(config::WebVersion(major, minor, build)) = self.settings.version {
            return Ok((major, minor, build));
        }
        let mut known = self.version.lock().await;
        if let Some((_, version)) = known.filter(|(at, _)| at.elapsed() < VERSION_KEEP) {
            return Ok(version);
        }
        let client: Arc<dyn whatsapp_rust::http::HttpClient> = Arc::new(self.http.clone());
        let fetched = timeout(VERSION_PATIENCE, fetch_latest_app_version(&client)).await;
        let version = fetched
            .context("no answer in time")
            .and_then(|version| version)
            .context("asking WhatsApp for its present version; whatsapp.version can set it")?;
        *known = Some((Instant::now(), version));
        Ok(version)
    }

    pub(super) async fn forget_version(&self) {
        *self.version.lock().await = None;
    }
}

/// The ingest role.
pub struct Ingest {
    context: Arc<Context>,
    name: Name,
    cancel: CancellationToken,
    /// Sessions as they are wanted; each running one listens to its own.
    wanted: HashMap<SessionId, watch::Sender<Session>>,
    running: HashMap<Id, SessionId>,
    paused: HashMap<SessionId, Instant>,
    sessions: JoinSet<End>,
    tasks: Tasks,
}

impl Ingest {
    /// Starts it; it ends when `cancel` is cancelled and every session has been given back. Files
    /// to send come through `fetch`, the keys of sessions lie behind `open`.
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
        let context = Context {
            media_secret: Arc::new(bus.registry().media_key().await?),
            bus,
            http: media::http_client(settings)?,
            fetch,
            open,
            files: Semaphore::new(FILES_MAX),
            settings: settings.clone(),
            next_turn: Mutex::new(Instant::now()),
            version: Mutex::new(None),
        };
        let ingest = Self {
            context: Arc::new(context),
            name: Name::new(),
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
        let mut scan = interval(SCAN_EVERY);
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

    /// Whether it may be a session to start.
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

    /// Takes every session that nobody runs.
    async fn scan(&mut self) -> Result<(), bus::Error> {
        let now = Instant::now();
        self.paused.retain(|_, until| *until > now);
        let mine: Vec<SessionId> = self.running.values().copied().collect();
        let free = |id: &SessionId| !mine.contains(id) && !self.paused.contains_key(id);
        let free: Vec<SessionId> = self.wanted.keys().copied().filter(free).collect();
        if free.is_empty() {
            return Ok(());
        }
        let taken = self.context.bus.leases().await?;
        for id in free {
            let name = format!("session.{id}");
            let is_taken = taken.contains(&name);
            let lock = Lock::take(&self.context.settings.sessions_dir, id, !is_taken);
            let node = self.name.holding(lock.as_ref());
            let lease = match &lock {
                None if is_taken => continue,
                Some(lock) if is_taken => {
                    self.context
                        .bus
                        .seize_lease(&name, &node, |holder| self.name.outlives(holder, lock))
                        .await?
                }
                _ => self.context.bus.acquire_lease(&name, &node).await?,
            };
            let Some(lease) = lease else {
                // Another machine runs it, on files that once were here: not asked about at every
                // scan.
                self.paused.insert(id, now + FAILURE_PAUSE);
                continue;
            };
            let Some(wanted) = self.wanted.get(&id).map(watch::Sender::subscribe) else {
                continue;
            };
            let running = Running {
                context: Arc::clone(&self.context),
                wanted,
                lease: Arc::new(lease),
                lock,
                tasks: self.tasks.clone(),
                cancel: self.cancel.clone(),
            };
            let task = self
                .tasks
                .once_in(&mut self.sessions, TaskKind::Session, running.run());
            self.running.insert(task.id(), id);
        }
        Ok(())
    }

    fn ended(&mut self, ended: Result<(Id, End), tokio::task::JoinError>) {
        let (task, end) = ended.unwrap_or_else(|error| (error.id(), End::Cancelled));
        let Some(id) = self.running.remove(&task) else {
            return;
        };
        let pause = if end == End::Ok {
            SCAN_EVERY
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
        *changes = Some(bus.registry().watch_sessions().await?);
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
