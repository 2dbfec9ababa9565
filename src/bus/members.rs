//! Which nodes share the work.
//!
//! Each writes a heartbeat every second into a bucket that all of them watch. A node that leaves
//! deletes its entry. A silent one is considered down after [`DEAD_AFTER`](super::member_view), by
//! the watcher's own clock. A node whose own heartbeats do not get through must stop before that:
//! [`Membership::is_current`].

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Bus, Error,
    bucket::Bucket,
    bucket_watch::Update,
    freshness::Revision,
    member_view::{DEAD_AFTER, MemberView, SELF_EXPIRY, WATCH_STALE_AFTER},
    patience::patiently,
};
use crate::{
    model::Timestamp,
    tasks::{TaskKind, Tasks},
    telemetry,
};

const MEMBERS: &str = "wa_members";
const PREFIX: &str = "deliver.";
const BEAT_INTERVAL: Duration = Duration::from_secs(1);
/// Changes of webhooks that come together are told together.
const BEAT_PAUSE: Duration = Duration::from_millis(10);
const LOOK_INTERVAL: Duration = Duration::from_millis(50);
const WATCH_PAUSE: Duration = Duration::from_millis(500);

/// What a node says of itself.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Member {
    /// The partitions that it runs now.
    pub partitions: Vec<u16>,
    /// What it has of the bucket of webhooks; `None` while it loads them, and from a version that
    /// does not say.
    #[serde(default)]
    pub webhooks: Option<Revision>,
}

struct Shared {
    bucket: Bucket<Member>,
    key: String,
    partitions: watch::Sender<Vec<u16>>,
    /// What the cache has.
    webhooks: watch::Receiver<Option<Revision>>,
    connections: watch::Sender<u64>,
    view: Mutex<MemberView>,
    members: watch::Sender<Vec<String>>,
    cancel: CancellationToken,
}

/// This node's membership among the nodes that deliver. Clones share it.
#[derive(Clone)]
pub struct Membership(Arc<Shared>);

impl Bus {
    /// Joins the nodes that deliver, under a name that no other has. Returns once all others are
    /// known.
    pub async fn join(&self, node: &str, tasks: &Tasks) -> Result<Membership, Error> {
        let membership = Membership(Arc::new(Shared {
            bucket: patiently(async || self.member_bucket().open().await).await?,
            key: format!("{PREFIX}{node}"),
            partitions: watch::Sender::default(),
            webhooks: self.webhooks().seen(),
            connections: self.connections.clone(),
            view: Mutex::new(MemberView::new()),
            members: watch::Sender::default(),
            cancel: CancellationToken::new(),
        }));
        patiently(async || membership.beat().await).await?;
        patiently(async || membership.load().await).await?;
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
    pub async fn members(&self) -> Result<Vec<(String, Member)>, Error> {
        let all = self.member_bucket().list(&format!("{PREFIX}>")).await?;
        let named = all
            .into_iter()
            .map(|(key, entry)| (key[PREFIX.len()..].to_owned(), entry.value));
        Ok(named.collect())
    }

    /// Those of them that nobody can consider down by this time.
    pub(super) async fn members_at(&self, now: Timestamp) -> Result<Vec<Member>, Error> {
        let all = self.member_bucket().list(&format!("{PREFIX}>")).await?;
        let is_up = |at: Timestamp| now.since(at) < DEAD_AFTER;
        let up = all
            .into_iter()
            .filter(|(_, entry)| is_up(entry.created.into()));
        Ok(up.map(|(_, entry)| entry.value).collect())
    }

    fn member_bucket(&self) -> Bucket<Member> {
        self.buckets().json(MEMBERS)
    }
}

impl Membership {
    /// The names of the nodes that are up, this one among them, and every change of them.
    pub fn members(&self) -> watch::Receiver<Vec<String>> {
        self.0.members.subscribe()
    }

    /// This node's name.
    pub fn name(&self) -> &str {
        &self.0.key[PREFIX.len()..]
    }

    /// Tells the others and operators what this node runs.
    pub fn runs(&self, partitions: Vec<u16>) {
        self.0.partitions.send_replace(partitions);
    }

    /// Whether no other was here within the last ten seconds, those that died or left included.
    pub async fn is_first(&self) -> Result<bool, Error> {
        let store = self.0.bucket.store().await?;
        Ok(store.stream.get_info().await?.state.messages <= 1)
    }

    /// Changes when this node has been silent for so long that others may have done what it had
    /// fetched before.
    pub fn term(&self) -> u64 {
        self.view().term()
    }

    /// When the silence began that the present term ended; `None` in the first one.
    pub fn silent_since(&self) -> Option<Instant> {
        self.view().silent_since()
    }

    /// Returns once no other can consider this node down.
    pub async fn current(&self) {
        while !self.is_current() {
            sleep(LOOK_INTERVAL).await;
        }
    }

    /// Whether no other can consider this node down yet.
    pub fn is_current(&self) -> bool {
        let view = self.view();
        view.is_current(Instant::now())
    }

    /// Leaves: others take over what this node runs as soon as it lets go of it.
    pub async fn leave(&self) {
        self.0.cancel.cancel();
        // Should this fail, others see it by the silence.
        let _ = timeout(BEAT_INTERVAL, self.0.bucket.delete(&self.0.key)).await;
    }

    fn view(&self) -> MutexGuard<'_, MemberView> {
        self.0.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn beat(&self) -> Result<(), Error> {
        // Before the request: the server may store it as early as this.
        let sent_at = Instant::now();
        let member = Member {
            partitions: self.0.partitions.borrow().clone(),
            webhooks: *self.0.webhooks.borrow(),
        };
        timeout(
            SELF_EXPIRY - BEAT_INTERVAL,
            self.0.bucket.put(&self.0.key, &member),
        )
        .await
        .map_err(|_| Error::Timeout("answer to a heartbeat"))??;
        let mut view = self.view();
        view.beat_got_through(sent_at, Instant::now());
        Ok(())
    }

    async fn keep_beating(self) {
        let mut ticks = interval(BEAT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut partitions = self.0.partitions.subscribe();
        let mut webhooks = self.0.webhooks.clone();
        let mut connections = self.0.connections.subscribe();
        loop {
            tokio::select! {
                biased;
                () = self.0.cancel.cancelled() => return,
                _ = ticks.tick() => {}
                changed = partitions.changed() => if changed.is_err() { return },
                _ = connections.changed() => {}
                // Somebody waits for this node to have a change.
                _ = webhooks.changed() => sleep(BEAT_PAUSE).await,
            }
            partitions.mark_unchanged();
            webhooks.mark_unchanged();
            let beat = tokio::select! {
                biased;
                beat = self.beat() => beat,
                // Its answer will not come any more.
                _ = connections.changed() => self.beat().await,
            };
            if let Err(error) = beat {
                telemetry::error("bus", "beat");
                tracing::warn!(%error, "a heartbeat did not get through");
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
        let mut watch = self.0.bucket.watch(&format!("{PREFIX}>")).await?;
        loop {
            let update = timeout(WATCH_STALE_AFTER, watch.next())
                .await
                .map_err(|_| Error::Timeout("heartbeats"))??;
            let (change, is_up) = match update {
                Update::Put(change, _) => (change, true),
                Update::Deleted(change) => (change, false),
                Update::CaughtUp => continue,
            };
            let Some(name) = change.key.strip_prefix(PREFIX) else {
                continue;
            };
            let now = Instant::now();
            let mut view = self.view();
            if name == self.name() {
                view.own_beat_seen(now);
            }
            let is_news = if is_up {
                view.note(name, change.created, now)
            } else {
                view.left(name)
            };
            drop(view);
            if is_news {
                self.judge();
            }
        }
    }

    async fn load(&self) -> Result<(), Error> {
        // This node's own entry first: it shows the server's time.
        let own = self.0.bucket.entry(&self.0.key).await?;
        let others = self.0.bucket.list(&format!("{PREFIX}>")).await?;
        let own = own.map(|entry| (self.0.key.clone(), entry));
        for (key, entry) in own.into_iter().chain(others) {
            let name = &key[PREFIX.len()..];
            self.view().note(name, entry.created, Instant::now());
        }
        self.judge();
        Ok(())
    }

    /// Publishes which nodes are up.
    fn judge(&self) {
        let names = self.view().judge(self.name(), Instant::now());
        self.0.members.send_if_modified(|members| {
            let changed = *members != names;
            *members = names;
            changed
        });
    }
}
