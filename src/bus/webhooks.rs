//! Webhooks in a key-value bucket, cached.

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Error,
    bucket::{Bucket, Buckets, Codec, Entry, Write},
    bucket_watch::Update,
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
struct Sealed {
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
/// A watch keeps the cache current. A miss in it is not believed without asking the server.
#[derive(Clone)]
pub struct Webhooks {
    bucket: Bucket<Webhook, Sealed>,
    cache: Arc<RwLock<Cache>>,
    /// The newest revision that the watch has brought.
    seen: watch::Sender<u64>,
}

fn text(client: ClientId, phone: &Phone) -> String {
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
            seen: watch::Sender::new(0),
        }
    }

    fn read_cache(&self) -> RwLockReadGuard<'_, Cache> {
        self.cache.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_cache(&self) -> RwLockWriteGuard<'_, Cache> {
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
        loop {
            let update = watch.next().await?;
            let seen = self.take_in(update);
            self.seen.send_if_modified(|known| {
                let is_newer = seen != *known;
                *known = seen;
                is_newer
            });
        }
    }

    /// Takes in what the watch brought; the newest revision that it has brought so far.
    fn take_in(&self, update: Update<Webhook>) -> u64 {
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

    /// Waits until the watch has brought all that the bucket held when this was called; whether it
    /// has in time.
    async fn catch_up(&self, limit: Duration) -> Result<bool, Error> {
        let store = self.bucket.store().await?;
        let last = store.stream.cached_info().state.last_sequence;
        let mut seen = self.seen.subscribe();
        let caught_up = timeout(limit, seen.wait_for(|seen| *seen >= last)).await;
        Ok(matches!(caught_up, Ok(Ok(_))))
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

    /// The webhook of a number, if the cache has it.
    pub fn cached_by_phone(&self, client: ClientId, phone: &Phone) -> Option<Arc<Webhook>> {
        self.read_cache().by_phone(&(client, phone.clone()))
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

    fn learn(
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
    /// server had when it was asked.
    pub async fn by_id(
        &self,
        client: ClientId,
        id: WebhookId,
    ) -> Result<Option<Arc<Webhook>>, Error> {
        if let Some(webhook) = self.cached_by_id(client, id) {
            return Ok(Some(webhook));
        }
        self.catch_up(CATCH_UP_TIMEOUT).await?;
        Ok(self.cached_by_id(client, id))
    }

    /// A webhook by its id, if it is this client's and the cache has it.
    pub fn cached_by_id(&self, client: ClientId, id: WebhookId) -> Option<Arc<Webhook>> {
        self.read_cache().by_id(client, id)
    }

    /// Up to `limit` webhooks of a client after this number, by phone number, without its
    /// operational one.
    pub async fn page(
        &self,
        client: ClientId,
        after: Option<&Phone>,
        limit: usize,
    ) -> Result<Vec<Arc<Webhook>>, Error> {
        self.catch_up(CATCH_UP_TIMEOUT).await?;
        Ok(self.read_cache().page(client, after, limit))
    }

    /// All webhooks of a client but its operational one, by phone number.
    pub async fn list(&self, client: ClientId) -> Result<Vec<Arc<Webhook>>, Error> {
        self.catch_up(CATCH_UP_TIMEOUT).await?;
        let mut all = self.read_cache().list(client);
        all.sort_by(|a, b| a.phone.cmp(&b.phone));
        Ok(all)
    }

    /// Registers or changes the webhook of a number; `true` when there was none before.
    ///
    /// `make` gets the present one and gives the new one. It is called again when another node was
    /// faster.
    pub async fn register(
        &self,
        client: ClientId,
        phone: &Phone,
        mut make: impl FnMut(Option<&Webhook>) -> Webhook,
    ) -> Result<(Arc<Webhook>, bool), Error> {
        self.try_register(client, phone, |present| Ok(make(present)))
            .await
    }

    /// Like [`register`](Self::register); nothing is written when `make` fails.
    pub async fn try_register<E: From<Error>>(
        &self,
        client: ClientId,
        phone: &Phone,
        mut make: impl FnMut(Option<&Webhook>) -> Result<Webhook, E>,
    ) -> Result<(Arc<Webhook>, bool), E> {
        let modified = self
            .bucket
            .modify(&text(client, phone), |present| {
                let webhook = make(present)?;
                Ok::<_, E>((Write::Put(webhook), ()))
            })
            .await?;
        let (revision, webhook) = modified.written.expect("every answer was to write");
        let webhook = self.learn(client, phone, revision, webhook);
        Ok((webhook, modified.before.is_none()))
    }

    /// Changes a webhook; `None` when this client has none of this id. An unchanged one is not
    /// written.
    pub async fn update(
        &self,
        client: ClientId,
        id: WebhookId,
        mut change: impl FnMut(&mut Webhook),
    ) -> Result<Option<Arc<Webhook>>, Error> {
        self.try_update(client, id, |webhook| {
            change(webhook);
            Ok::<_, Error>(())
        })
        .await
    }

    /// Like [`update`](Self::update); nothing is written when `change` fails.
    pub async fn try_update<E: From<Error>>(
        &self,
        client: ClientId,
        id: WebhookId,
        mut change: impl FnMut(&mut Webhook) -> Result<(), E>,
    ) -> Result<Option<Arc<Webhook>>, E> {
        let Some(known) = self.by_id(client, id).await? else {
            return Ok(None);
        };
        let modified = self
            .bucket
            .modify(&text(client, &known.phone), |present| {
                let Some(present) = present.filter(|webhook| webhook.id == id) else {
                    return Ok((Write::Keep, false));
                };
                let mut webhook = present.clone();
                change(&mut webhook)?;
                let write = if webhook == *present {
                    Write::Keep
                } else {
                    Write::Put(webhook)
                };
                Ok::<_, E>((write, true))
            })
            .await?;
        if !modified.outcome {
            return Ok(None);
        }
        let before = modified.before.map(|entry| (entry.revision, entry.value));
        let now = modified.written.or(before);
        Ok(now.map(|(revision, webhook)| self.learn(client, &known.phone, revision, webhook)))
    }

    /// Deletes a webhook and gives it back; `None` when this client has none of this id.
    pub async fn delete(
        &self,
        client: ClientId,
        id: WebhookId,
    ) -> Result<Option<Arc<Webhook>>, Error> {
        let Some(known) = self.by_id(client, id).await? else {
            return Ok(None);
        };
        let modified = self
            .bucket
            .modify(&text(client, &known.phone), |present| {
                let is_it = present.is_some_and(|webhook| webhook.id == id);
                let write = if is_it { Write::Delete } else { Write::Keep };
                Ok::<_, Error>((write, is_it))
            })
            .await?;
        let deleted = modified.before.filter(|_| modified.outcome);
        Ok(deleted.map(
            |Entry {
                 revision, value, ..
             }| {
                let key = (client, known.phone.clone());
                self.write_cache().remove(&key, revision + 1);
                Arc::new(value)
            },
        ))
    }
}
