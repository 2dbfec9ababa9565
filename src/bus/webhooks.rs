//! Webhooks in a key-value bucket, cached.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    bucket::{Bucket, Buckets, Codec},
    bucket_watch::Update,
    freshness::{Freshness, Revision},
    shared_keys::LoadedKeys,
    webhook_cache::{Cache, Key},
};
use crate::{
    model::{ClientId, Phone, Webhook, WebhookId},
    tasks::{TaskKind, Tasks},
    wire,
};

pub(super) const WEBHOOKS: &str = "wa_webhooks";
/// How long a miss may wait for the watch to catch up.
const CATCH_UP_TIMEOUT: Duration = Duration::from_millis(500);
/// How long the first load may take.
const LOAD_TIMEOUT: Duration = Duration::from_secs(60);
/// The pause before the watch is opened again, and the longest one.
const WATCH_PAUSE: Duration = Duration::from_millis(100);
const WATCH_PAUSE_MAX: Duration = Duration::from_secs(1);

/// Webhooks as JSON, their secrets sealed.
#[derive(Clone)]
pub(super) struct Sealed {
    keys: LoadedKeys,
}

impl Codec<Webhook> for Sealed {
    fn decode(&self, _: &'static str, bytes: &Bytes) -> Result<Webhook, Error> {
        wire::decode_webhook(bytes, self.keys.get()?).map_err(Error::stored_webhook)
    }

    fn encode(&self, _: &'static str, webhook: &Webhook) -> Result<Bytes, Error> {
        Ok(wire::encode_webhook(webhook, self.keys.get()?).into())
    }
}

/// The registered webhooks. Clones share the cache.
///
/// A watch keeps the cache current. A miss in it is not believed without asking the server, and
/// nothing in it while the watch may be deaf: see [`freshness`](super::freshness).
#[derive(Clone)]
pub struct Webhooks {
    pub(super) bucket: Bucket<Webhook, Sealed>,
    cache: Arc<RwLock<Cache>>,
    /// The newest revision that the watch has brought.
    seen: watch::Sender<Option<Revision>>,
    freshness: Arc<Freshness>,
}

pub(super) fn text(client: ClientId, phone: &Phone) -> String {
    format!("{client}.{}", phone.as_str())
}

fn parse(key: &str) -> Option<Key> {
    let (client, phone) = key.split_once('.')?;
    Some((client.parse().ok()?, phone.parse().ok()?))
}

impl Webhooks {
    pub(super) fn new(buckets: &Buckets, keys: LoadedKeys) -> Self {
        Self {
            bucket: buckets.bucket(WEBHOOKS, Sealed { keys }),
            cache: Arc::default(),
            seen: watch::Sender::default(),
            freshness: Arc::default(),
        }
    }

    fn read_cache(&self) -> RwLockReadGuard<'_, Cache> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The cache, while it is believed.
    fn trusted_cache(&self) -> Option<RwLockReadGuard<'_, Cache>> {
        self.freshness
            .is_trusted(Instant::now())
            .then(|| self.read_cache())
    }

    pub(super) fn write_cache(&self) -> RwLockWriteGuard<'_, Cache> {
        self.cache.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Loads all webhooks, then keeps them current for as long as the process lives.
    pub(super) async fn load(&self, tasks: &Tasks) -> Result<(), Error> {
        let webhooks = self.clone();
        // Not among the tasks that a drain waits for: deliveries need it to their end.
        let never = CancellationToken::new();
        tasks.group().keep(TaskKind::WebhookWatch, &never, move || {
            webhooks.clone().keep_following()
        });
        let is_loaded = self.catch_up(LOAD_TIMEOUT).await?;
        is_loaded
            .then_some(())
            .ok_or(Error::Timeout("load of the webhooks"))
    }

    async fn keep_following(self) {
        let mut pause = WATCH_PAUSE;
        loop {
            let mut is_open = false;
            if let Err(error) = self.follow(&mut is_open).await {
                tracing::warn!(%error, "watching the webhooks again");
            }
            pause = if is_open {
                WATCH_PAUSE
            } else {
                (pause * 2).min(WATCH_PAUSE_MAX)
            };
            sleep(pause).await;
        }
    }

    async fn follow(&self, is_open: &mut bool) -> Result<(), Error> {
        let mut watch = self.bucket.watch(">").await?;
        *is_open = true;
        self.write_cache().begin_snapshot(watch.last_revision());
        self.freshness.note_progress(Instant::now());
        loop {
            let update = tokio::select! {
                biased;
                () = self.freshness.wait_until_deaf() => {
                    return Err(Error::Closed("a watch that brings nothing"));
                }
                update = watch.next() => update?,
            };
            let seen = self.take_in(update);
            self.freshness.note_progress(Instant::now());
            self.seen.send_if_modified(|known| {
                let is_newer = seen != *known;
                *known = seen;
                is_newer
            });
        }
    }

    /// Takes in what the watch brought; the newest revision that it has brought so far.
    fn take_in(&self, update: Update<Webhook>) -> Option<Revision> {
        let mut cache = self.write_cache();
        let (change, value) = match update {
            Update::CaughtUp => {
                cache.end_snapshot();
                return cache.seen();
            }
            Update::Put(change, value) => (change, Some(value)),
            Update::Deleted(change) => (change, None),
        };
        match (parse(&change.key), value) {
            (Some(key), Some(Ok(webhook))) => cache.put(key, change.revision, Arc::new(webhook)),
            (Some(key), Some(Err(error))) => {
                tracing::error!(%error, "skipping a webhook");
                cache.put_unreadable(&key, change.revision);
            }
            (Some(key), None) => cache.deleted(&key, change.revision),
            (None, _) => cache.saw(change.revision),
        }
        cache.seen()
    }

    /// The newest revision, as the server has it now.
    pub(super) async fn newest(&self) -> Result<Revision, Error> {
        let store = self.bucket.store().await?;
        Ok(Revision::of(store.stream.cached_info()))
    }

    /// The newest revision that the watch has brought, and each change of it.
    pub(super) fn seen(&self) -> watch::Receiver<Option<Revision>> {
        self.seen.subscribe()
    }

    /// Waits until the watch has brought this revision, which the server had when it was asked;
    /// whether it has in time. Then the cache is believed for a while from the question on.
    pub(super) async fn confirm(
        &self,
        newest: Revision,
        asked_at: Instant,
        limit: Duration,
    ) -> bool {
        let mut seen = self.seen();
        let has_newest = |seen: &Option<Revision>| seen.is_some_and(|seen| seen.covers(&newest));
        let is_complete = matches!(timeout(limit, seen.wait_for(has_newest)).await, Ok(Ok(_)));
        if is_complete {
            self.freshness.confirm(asked_at);
        } else {
            self.freshness.is_behind(Instant::now());
        }
        is_complete
    }

    /// Waits until the watch has brought all that the bucket held when this was called; whether it
    /// has in time.
    async fn catch_up(&self, limit: Duration) -> Result<bool, Error> {
        let asked_at = Instant::now();
        let newest = self.newest().await?;
        Ok(self.confirm(newest, asked_at, limit).await)
    }

    /// The webhook of a number: from the cache, or else from the server.
    pub async fn by_phone(
        &self,
        client: ClientId,
        phone: &Phone,
    ) -> Result<Option<Arc<Webhook>>, Error> {
        let cached = self.cached_by_phone(client, phone);
        if cached.is_some() {
            Ok(cached)
        } else {
            self.fetch_by_phone(client, phone).await
        }
    }

    /// The webhook of an account: registered for its number, or for the other form of that (see
    /// [`Phone::other_form`]). What is published for it goes under the webhook's number: streams
    /// and deliver nodes know no other form.
    pub async fn by_account(
        &self,
        client: ClientId,
        phone: &Phone,
    ) -> Result<Option<Arc<Webhook>>, Error> {
        let exact = self.by_phone(client, phone).await?;
        match (exact, phone.other_form()) {
            (None, Some(other)) => self.by_phone(client, &other).await,
            (exact, _) => Ok(exact),
        }
    }

    /// The webhook of a number, if the cache has it and is believed.
    pub fn cached_by_phone(&self, client: ClientId, phone: &Phone) -> Option<Arc<Webhook>> {
        self.trusted_cache()?.by_phone(&(client, phone.clone()))
    }

    /// The webhook of a number, as the server has it now.
    pub async fn fetch_by_phone(
        &self,
        client: ClientId,
        phone: &Phone,
    ) -> Result<Option<Arc<Webhook>>, Error> {
        let entry = self.bucket.entry(&text(client, phone)).await?;
        Ok(entry.map(|entry| self.learn(client, phone, entry.revision, entry.value)))
    }

    pub(super) fn learn(
        &self,
        client: ClientId,
        phone: &Phone,
        revision: u64,
        webhook: Webhook,
    ) -> Arc<Webhook> {
        let webhook = Arc::new(webhook);
        let key = (client, phone.clone());
        self.write_cache()
            .learn(key, revision, Arc::clone(&webhook));
        webhook
    }

    /// A webhook by its id, if it is this client's. A miss waits until the cache has all that the
    /// server had when it was asked. If the watch does not bring that in time, the server is asked
    /// for the webhook.
    pub async fn by_id(
        &self,
        client: ClientId,
        id: WebhookId,
    ) -> Result<Option<Arc<Webhook>>, Error> {
        if let Some(webhook) = self.cached_by_id(client, id) {
            return Ok(Some(webhook));
        }
        let is_complete = self.catch_up(CATCH_UP_TIMEOUT).await?;
        let known = self.read_cache().by_id(client, id);
        let found = match known {
            _ if is_complete => known,
            // A webhook keeps its number.
            Some(known) => self.fetch_by_phone(client, &known.phone).await?,
            None => {
                let mut all = self.fetch_all(client).await?.into_iter();
                all.find(|webhook| webhook.id == id)
            }
        };
        Ok(found.filter(|webhook| webhook.id == id))
    }

    /// A webhook by its id, if it is this client's and the cache has it and is believed.
    pub fn cached_by_id(&self, client: ClientId, id: WebhookId) -> Option<Arc<Webhook>> {
        self.trusted_cache()?.by_id(client, id)
    }

    /// All webhooks of a client, as the server has them now.
    async fn fetch_all(&self, client: ClientId) -> Result<Vec<Arc<Webhook>>, Error> {
        let all = self.bucket.list(&format!("{client}.*")).await?;
        Ok(all
            .into_iter()
            .map(|(_, entry)| Arc::new(entry.value))
            .collect())
    }

    /// All webhooks of all clients, as the cache has them.
    pub fn all(&self) -> Vec<Arc<Webhook>> {
        self.read_cache().all()
    }

    /// Up to `limit` webhooks of a client after this number, by phone number, without its
    /// operational one.
    pub async fn page(
        &self,
        client: ClientId,
        after: Option<&Phone>,
        limit: usize,
    ) -> Result<Vec<Arc<Webhook>>, Error> {
        if self.catch_up(CATCH_UP_TIMEOUT).await? {
            return Ok(self.read_cache().page(client, after, limit));
        }
        let mut all = self.fetch_own(client).await?;
        all.retain(|webhook| after.is_none_or(|after| webhook.phone > *after));
        all.truncate(limit);
        Ok(all)
    }

    /// All webhooks of a client but its operational one, by phone number.
    pub async fn list(&self, client: ClientId) -> Result<Vec<Arc<Webhook>>, Error> {
        if !self.catch_up(CATCH_UP_TIMEOUT).await? {
            return self.fetch_own(client).await;
        }
        let mut all = self.read_cache().list(client);
        all.sort_by(|a, b| a.phone.cmp(&b.phone));
        Ok(all)
    }

    /// The same, as the server has them now.
    async fn fetch_own(&self, client: ClientId) -> Result<Vec<Arc<Webhook>>, Error> {
        let mut all = self.fetch_all(client).await?;
        all.retain(|webhook| !webhook.phone.is_operational());
        all.sort_by(|a, b| a.phone.cmp(&b.phone));
        Ok(all)
    }

    /// How many webhooks a client has, without its operational one.
    pub async fn count(&self, client: ClientId) -> Result<u64, Error> {
        Ok(self.list(client).await?.len() as u64)
    }

    /// How many webhooks each client has, without operational ones, as the server has it now.
    pub async fn count_all(&self) -> Result<HashMap<ClientId, u64>, Error> {
        let mut counts = HashMap::new();
        for key in self.bucket.keys().await? {
            if let Some((client, phone)) = parse(&key)
                && !phone.is_operational()
            {
                *counts.entry(client).or_default() += 1;
            }
        }
        Ok(counts)
    }
}
