//! Limits of single clients in a bucket, and every node's copy of them.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Bus, Error,
    bucket::{Bucket, Buckets, Write},
    bucket_watch::Update,
};
use crate::{
    model::{ClientId, Limit, OwnLimits},
    tasks::{TaskKind, Tasks},
};

const CLIENTS: &str = "wa_clients";
/// How long the first load may take.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// Before the bucket is watched again.
const WATCH_PAUSE: Duration = Duration::from_secs(1);

type Known = HashMap<ClientId, OwnLimits>;

/// What operators set for single clients. Clones share the copy, which a watch keeps current.
#[derive(Clone)]
pub struct ClientLimits {
    bucket: Bucket<OwnLimits>,
    known: Arc<RwLock<Known>>,
    is_loaded: watch::Sender<bool>,
}

impl ClientLimits {
    pub(super) fn new(buckets: &Buckets) -> Self {
        Self {
            bucket: buckets.json(CLIENTS),
            known: Arc::default(),
            is_loaded: watch::Sender::new(false),
        }
    }

    /// Loads all, then keeps them current for as long as the process lives.
    ///
    /// # Errors
    /// When the bucket cannot be read in time.
    pub async fn load(&self, tasks: &Tasks) -> Result<(), Error> {
        let limits = self.clone();
        // Not among the tasks that a drain waits for: deliveries need it to their end.
        let never = CancellationToken::new();
        tasks.group().keep(TaskKind::LimitWatch, &never, move || {
            limits.clone().keep_following()
        });
        let mut is_loaded = self.is_loaded.subscribe();
        let loaded = timeout(LOAD_TIMEOUT, is_loaded.wait_for(|loaded| *loaded));
        match loaded.await {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Error::Timeout("load of the clients' limits")),
        }
    }

    async fn keep_following(self) {
        loop {
            if let Err(error) = self.follow().await {
                tracing::warn!(%error, "watching the limits of clients again");
            }
            sleep(WATCH_PAUSE).await;
        }
    }

    /// What is known holds until the watch has brought all that there is.
    async fn follow(&self) -> Result<(), Error> {
        let mut watch = self.bucket.watch(">").await?;
        let mut snapshot = Some(Known::new());
        loop {
            let (change, limits) = match watch.next().await? {
                Update::CaughtUp => {
                    if let Some(snapshot) = snapshot.take() {
                        self.write(|known| *known = snapshot);
                    }
                    self.is_loaded.send_replace(true);
                    continue;
                }
                Update::Put(change, Ok(limits)) => (change, limits),
                Update::Put(_, Err(error)) => {
                    tracing::error!(%error, "skipping the limits of a client");
                    continue;
                }
                Update::Deleted(change) => (change, OwnLimits::default()),
            };
            let Ok(client) = change.key.parse() else {
                continue;
            };
            match &mut snapshot {
                Some(snapshot) => note(snapshot, client, limits),
                None => self.write(|known| note(known, client, limits)),
            }
        }
    }

    fn write(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// A client's own limit as this node knows it.
    pub(super) fn known(&self, client: ClientId, limit: Limit) -> Option<u64> {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        known.get(&client)?.get(limit)
    }

    /// The limits of a client, as the server has them now.
    pub async fn get(&self, client: ClientId) -> Result<OwnLimits, Error> {
        let limits = self.bucket.get(&client.to_string()).await?;
        Ok(limits.unwrap_or_default())
    }

    /// All clients with limits of their own, as the server has them now.
    pub async fn list(&self) -> Result<HashMap<ClientId, OwnLimits>, Error> {
        let all = self.bucket.list(">").await?;
        Ok(all
            .into_iter()
            .filter_map(|(key, entry)| Some((key.parse().ok()?, entry.value)))
            .collect())
    }

    /// Changes the limits of a client, and gives them back.
    pub async fn change(
        &self,
        client: ClientId,
        change: impl Fn(&mut OwnLimits),
    ) -> Result<OwnLimits, Error> {
        let modified = self
            .bucket
            .modify(&client.to_string(), |present| {
                let mut limits = present.cloned().unwrap_or_default();
                change(&mut limits);
                let write = if limits.is_empty() {
                    Write::Delete
                } else {
                    Write::Put(limits.clone())
                };
                Ok::<_, Error>((write, limits))
            })
            .await?;
        Ok(modified.outcome)
    }
}

fn note(known: &mut Known, client: ClientId, limits: OwnLimits) {
    if limits.is_empty() {
        known.remove(&client);
    } else {
        known.insert(client, limits);
    }
}

impl Bus {
    /// What holds for a client: its own limit, or the setting.
    pub fn limit(&self, client: ClientId, limit: Limit) -> u64 {
        self.client_limits()
            .known(client, limit)
            .unwrap_or_else(|| self.settings.quota.limit(limit))
    }
}
