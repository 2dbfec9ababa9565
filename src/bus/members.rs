//! Which nodes share the work.
//!
//! Each writes a sign of life every second into a bucket that all of them watch. A node that leaves
//! takes its entry away; one that falls silent is taken for dead after [`DEAD_AFTER`], by the
//! watcher's own clock. A node whose own signs do not get through must stop before that:
//! [`Membership::is_current`].

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use async_nats::jetstream::kv::{self, Operation};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Bus, Error, registry};
use crate::{
    tasks::{TaskKind, Tasks},
    telemetry,
};

const MEMBERS: &str = "wa_members";
const PREFIX: &str = "deliver.";
const BEAT_EVERY: Duration = Duration::from_secs(1);
/// Silence after which others take a node for dead.
const DEAD_AFTER: Duration = Duration::from_secs(5);
/// Silence after which a node takes itself for dead: before any other does.
const CURRENT_FOR: Duration = Duration::from_secs(4);
/// Signs come every second: a watch that brings none for so long has ended without a word.
const DEAF_AFTER: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const WATCH_PAUSE: Duration = Duration::from_millis(500);

/// What a node says of itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Member {
    /// The partitions that it runs now.
    pub partitions: Vec<u16>,
}

/// How one node sees the others.
struct Seen {
    /// Last sign of life of each.
    alive: BTreeMap<String, Instant>,
    /// The newest time of the server's clock that an entry showed.
    server_time: OffsetDateTime,
    /// When this node's own last sign was asked for that got through.
    current: Option<Instant>,
    /// When the watch last brought one of this node's own signs: while it does not, the others'
    /// silence says nothing.
    heard: Option<Instant>,
    /// How often this node has come back from silence, and when the last one began.
    term: u64,
    silent_since: Option<Instant>,
}

impl Seen {
    fn is_current(&self) -> bool {
        self.current.is_some_and(|at| at.elapsed() < CURRENT_FOR)
    }

    fn hears(&self) -> bool {
        self.heard.is_some_and(|at| at.elapsed() < DEAF_AFTER)
    }
}

struct Shared {
    bucket: kv::Store,
    key: String,
    member: watch::Sender<Member>,
    connections: watch::Sender<u64>,
    seen: Mutex<Seen>,
    members: watch::Sender<Vec<String>>,
    cancel: CancellationToken,
}

/// This node's place among the nodes that deliver. Clones share it.
#[derive(Clone)]
pub struct Membership(Arc<Shared>);

impl Bus {
    /// Joins the nodes that deliver, under a name that no other has. Returns once all others are
    /// known.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn join(&self, node: &str, tasks: &Tasks) -> Result<Membership, Error> {
        let bucket = self.registry().bucket(MEMBERS).await?;
        let membership = Membership(Arc::new(Shared {
            bucket,
            key: format!("{PREFIX}{node}"),
            member: watch::Sender::default(),
            connections: self.connections.clone(),
            seen: Mutex::new(Seen {
                alive: BTreeMap::new(),
                server_time: OffsetDateTime::UNIX_EPOCH,
                current: None,
                heard: None,
                term: 0,
                silent_since: None,
            }),
            members: watch::Sender::default(),
            cancel: CancellationToken::new(),
        }));
        membership.beat().await?;
        membership.load().await?;
        let left = &membership.0.cancel;
        let beating = membership.clone();
        tasks.keep(TaskKind::Heartbeat, left, move || {
            beating.clone().keep_beating()
        });
        let watching = membership.clone();
        tasks.keep(TaskKind::MemberWatch, left, move || {
            watching.clone().keep_watching()
        });
        Ok(membership)
    }

    /// The nodes that deliver, as the bucket has them: those that died lately among them.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn members(&self) -> Result<Vec<(String, Member)>, Error> {
        let mut all = self.registry().all::<Member>(MEMBERS, PREFIX).await?;
        all.iter_mut()
            .for_each(|(key, _)| *key = key[PREFIX.len()..].to_owned());
        Ok(all)
    }
}

impl Membership {
    /// The names of the nodes that live, this one among them, and every change of them.
    pub fn members(&self) -> watch::Receiver<Vec<String>> {
        self.0.members.subscribe()
    }

    /// This node's name.
    pub fn name(&self) -> &str {
        &self.0.key[PREFIX.len()..]
    }

    /// Tells the others and operators what this node runs.
    pub fn runs(&self, partitions: Vec<u16>) {
        self.0.member.send_replace(Member { partitions });
    }

    /// Whether no other was here within the last ten seconds, those that died or left included.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn is_first(&self) -> Result<bool, Error> {
        let mut stream = self.0.bucket.stream.clone();
        Ok(stream.info().await?.state.messages <= 1)
    }

    /// Changes when this node has been silent for so long that others may have done what it had
    /// fetched before.
    pub fn term(&self) -> u64 {
        self.seen().term
    }

    /// When the silence began that the present term ended; `None` in the first one.
    pub fn silent_since(&self) -> Option<Instant> {
        self.seen().silent_since
    }

    /// Returns once no other can take this node for dead.
    pub async fn current(&self) {
        while !self.is_current() {
            sleep(LOOK_EVERY).await;
        }
    }

    /// Whether no other can take this node for dead yet.
    pub fn is_current(&self) -> bool {
        self.seen().is_current()
    }

    /// Leaves: others take over what this node runs as soon as it lets go of it.
    pub async fn leave(&self) {
        self.0.cancel.cancel();
        // Should this fail, others see it by the silence.
        let _ = timeout(BEAT_EVERY, self.0.bucket.delete(&self.0.key)).await;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn beat(&self) -> Result<(), Error> {
        let asked = Instant::now();
        let value = registry::write(MEMBERS, &*self.0.member.borrow())?;
        let put = timeout(
            CURRENT_FOR - BEAT_EVERY,
            self.0.bucket.put(&self.0.key, value),
        )
        .await;
        put.map_err(|_| Error::Timeout("an answer to a sign of life"))??;
        let mut seen = self.seen();
        if !seen.is_current() {
            seen.term += 1;
            seen.silent_since = seen.current;
            // What was silent was the bus, as far as this node can tell: the others get their time
            // anew.
            seen.alive.values_mut().for_each(|at| *at = asked);
        }
        seen.current = Some(asked);
        Ok(())
    }

    async fn keep_beating(self) {
        let mut ticks = interval(BEAT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut member = self.0.member.subscribe();
        let mut connections = self.0.connections.subscribe();
        loop {
            tokio::select! {
                biased;
                () = self.0.cancel.cancelled() => return,
                _ = ticks.tick() => {}
                changed = member.changed() => if changed.is_err() { return },
                _ = connections.changed() => {}
            }
            member.mark_unchanged();
            let beat = tokio::select! {
                biased;
                beat = self.beat() => beat,
                // Its answer will not come any more.
                _ = connections.changed() => self.beat().await,
            };
            if let Err(error) = beat {
                telemetry::error("bus", "beat");
                tracing::warn!(%error, "a sign of life did not get through");
            }
            self.judge();
        }
    }

    async fn keep_watching(self) {
        loop {
            let watched = tokio::select! {
                biased;
                () = self.0.cancel.cancelled() => return,
                watched = self.watch() => watched,
            };
            if let Err(error) = watched {
                tracing::warn!(%error, "watching the other nodes again");
            }
            sleep(WATCH_PAUSE).await;
        }
    }

    async fn watch(&self) -> Result<(), Error> {
        let mut entries = self
            .0
            .bucket
            .watch_with_history(format!("{PREFIX}>"))
            .await?;
        loop {
            let next = timeout(DEAF_AFTER, entries.next()).await;
            let Some(entry) = next.map_err(|_| Error::Timeout("signs of life"))? else {
                return Ok(());
            };
            let entry = entry?;
            let Some(name) = entry.key.strip_prefix(PREFIX) else {
                continue;
            };
            if name == self.name() {
                self.seen().heard = Some(Instant::now());
            }
            let news = match entry.operation {
                Operation::Put => self.note(name, entry.created),
                Operation::Delete | Operation::Purge => self.seen().alive.remove(name).is_some(),
            };
            if news {
                self.judge();
            }
        }
    }

    /// Notes a sign of life; whether it is news that this node lives. Old entries are no signs:
    /// their age is told by the server's clock alone.
    fn note(&self, name: &str, created: OffsetDateTime) -> bool {
        let mut seen = self.seen();
        seen.server_time = seen.server_time.max(created);
        let age = (seen.server_time - created).unsigned_abs();
        let Some(at) = Instant::now().checked_sub(age).filter(|_| age < DEAD_AFTER) else {
            return false;
        };
        seen.alive.insert(name.to_owned(), at).is_none()
    }

    async fn load(&self) -> Result<(), Error> {
        let entry = async |key: &str| self.0.bucket.entry(key).await.map_err(Error::from);
        if let Some(own) = entry(&self.0.key).await? {
            self.note(self.name(), own.created);
        }
        let mut keys = self.0.bucket.keys().await?;
        while let Some(key) = keys.next().await {
            let key = key?;
            if let (Some(name), Some(other)) = (key.strip_prefix(PREFIX), entry(&key).await?) {
                self.note(name, other.created);
            }
        }
        self.judge();
        Ok(())
    }

    /// Publishes who lives. While this node does not get through itself, or hears nothing, it knows
    /// nothing of the others.
    fn judge(&self) {
        let mut seen = self.seen();
        if seen.is_current() && seen.hears() {
            seen.alive.retain(|_, at| at.elapsed() < DEAD_AFTER);
        }
        // A node always counts itself in: only its own leaving ends that.
        seen.alive.insert(self.name().to_owned(), Instant::now());
        let names: Vec<String> = seen.alive.keys().cloned().collect();
        drop(seen);
        self.0.members.send_if_modified(|members| {
            let changed = *members != names;
            *members = names;
            changed
        });
    }
}
