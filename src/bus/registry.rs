//! Webhooks in a key-value bucket, cached.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

use async_nats::jetstream::{
    self,
    kv::{self, Operation},
};
use bytes::Bytes;
use futures_util::StreamExt;
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    sync::watch,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::Error;
use crate::{
    model::{ClientId, Phone, Webhook, WebhookId},
    tasks::{TaskKind, Tasks},
    wire::{self, Keyring},
};

pub(super) const WEBHOOKS: &str = "wa_webhooks";
/// How often a change is tried when others change the same key.
pub(super) const CONTENTION_MAX: usize = 16;
/// How long a miss may wait for the watch to catch up.
const CATCH_UP: Duration = Duration::from_millis(500);
/// How long the first load may take.
const LOAD: Duration = Duration::from_secs(60);
const WATCH_PAUSE: Duration = Duration::from_secs(1);

type Key = (ClientId, Phone);

#[derive(Default)]
struct Cache {
    by_key: HashMap<Key, (u64, Arc<Webhook>)>,
    by_id: HashMap<WebhookId, Key>,
    /// The newest revision that the watch has brought.
    seen: u64,
}

/// The registered webhooks. Clones share the cache.
#[derive(Clone)]
pub struct Registry {
    context: jetstream::Context,
    cache: Arc<RwLock<Cache>>,
    /// The newest revision that the watch has brought.
    seen: watch::Sender<u64>,
    keys: Arc<OnceLock<Keyring>>,
}

fn text(client: ClientId, phone: &Phone) -> String {
    format!("{client}.{}", phone.as_str())
}

fn parse(key: &str) -> Option<Key> {
    let (client, phone) = key.split_once('.')?;
    Some((client.parse().ok()?, phone.parse().ok()?))
}

/// A value of a bucket, from its JSON.
pub(super) fn read<T: DeserializeOwned>(bucket: &'static str, bytes: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|source| Error::Stored { bucket, source })
}

/// A value for a bucket, as JSON.
pub(super) fn write(bucket: &'static str, value: &impl Serialize) -> Result<Bytes, Error> {
    serde_json::to_vec(value)
        .map(Bytes::from)
        .map_err(|source| Error::Stored { bucket, source })
}

impl Cache {
    /// What the server answered. It may be older than what the watch has brought: then what is not
    /// here was deleted since.
    fn learn(&mut self, key: Key, revision: u64, webhook: Arc<Webhook>) {
        if self.seen < revision || self.by_key.contains_key(&key) {
            self.put(key, revision, webhook);
        }
    }

    fn put(&mut self, key: Key, revision: u64, webhook: Arc<Webhook>) {
        if self
            .by_key
            .get(&key)
            .is_some_and(|(known, _)| *known >= revision)
        {
            return;
        }
        self.by_id.insert(webhook.id, key.clone());
        if let Some((_, before)) = self.by_key.insert(key, (revision, Arc::clone(&webhook)))
            && before.id != webhook.id
        {
            self.by_id.remove(&before.id);
        }
    }

    /// To be told before the entry of this revision is put or removed.
    fn seen(&mut self, revision: u64) {
        self.seen = self.seen.max(revision);
    }

    fn remove(&mut self, key: &Key, revision: u64) {
        if self
            .by_key
            .get(key)
            .is_some_and(|(known, _)| *known < revision)
            && let Some((_, webhook)) = self.by_key.remove(key)
        {
            self.by_id.remove(&webhook.id);
        }
    }
}

impl Registry {
    pub(super) fn new(context: jetstream::Context) -> Self {
        Self {
            context,
            cache: Arc::default(),
            seen: watch::Sender::new(0),
            keys: Arc::default(),
        }
    }

    pub(super) fn keys(&self) -> Result<&Keyring, Error> {
        self.keys.get().ok_or(Error::NoKeys)
    }

    fn read_webhook(&self, bytes: &[u8]) -> Result<Webhook, Error> {
        wire::decode_webhook(bytes, self.keys()?).map_err(Error::stored_webhook)
    }

    fn write_webhook(&self, webhook: &Webhook) -> Result<Bytes, Error> {
        Ok(wire::encode_webhook(webhook, self.keys()?).into())
    }

    pub(super) async fn bucket(&self, name: &str) -> Result<kv::Store, Error> {
        self.context.get_key_value(name).await.map_err(Error::from)
    }

    /// All values of a bucket whose key begins so, with their keys.
    pub(super) async fn all<T: DeserializeOwned>(
        &self,
        name: &'static str,
        prefix: &str,
    ) -> Result<Vec<(String, T)>, Error> {
        let bucket = self.bucket(name).await?;
        let mut keys = bucket.keys().await?;
        let mut all = Vec::new();
        while let Some(key) = keys.next().await {
            let key = key?;
            if key.starts_with(prefix)
                && let Some(bytes) = bucket.get(key.as_str()).await?
            {
                all.push((key, read(name, &bytes)?));
            }
        }
        Ok(all)
    }

    fn read_cache(&self) -> RwLockReadGuard<'_, Cache> {
        self.cache
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn write_cache(&self) -> RwLockWriteGuard<'_, Cache> {
        self.cache
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Loads all webhooks, then keeps them current for as long as the process lives.
    pub(super) async fn start(&self, keys: Keyring, tasks: &Tasks) -> Result<(), Error> {
        // A second start goes on with the keys of the first.
        let _ = self.keys.set(keys);
        let bucket = self.bucket(WEBHOOKS).await?;
        let registry = self.clone();
        // Not among those that a drain waits for: deliveries need it to their end.
        let never = CancellationToken::new();
        tasks.group().keep(TaskKind::WebhookWatch, &never, move || {
            registry.clone().keep_following(bucket.clone())
        });
        let loaded = self.catch_up(LOAD).await?;
        if loaded {
            Ok(())
        } else {
            Err(Error::Timeout("all webhooks"))
        }
    }

    async fn keep_following(self, bucket: kv::Store) {
        loop {
            if let Err(error) = self.follow(&bucket).await {
                tracing::warn!(%error, "watching the registry again");
            }
            sleep(WATCH_PAUSE).await;
        }
    }

    async fn follow(&self, bucket: &kv::Store) -> Result<(), Error> {
        let mut entries = bucket.watch_with_history(">").await?;
        while let Some(entry) = entries.next().await {
            let entry = entry?;
            self.write_cache().seen(entry.revision);
            if let Some(key) = parse(&entry.key) {
                match entry.operation {
                    Operation::Put => match self.read_webhook(&entry.value) {
                        Ok(webhook) => {
                            self.write_cache()
                                .put(key, entry.revision, Arc::new(webhook))
                        }
                        Err(error) => {
                            tracing::error!(%error, "skipping a webhook");
                            // Not what it was before: whoever needs it asks the server, and waits
                            // until it can be read.
                            self.write_cache().remove(&key, entry.revision);
                        }
                    },
                    Operation::Delete | Operation::Purge => {
                        self.write_cache().remove(&key, entry.revision)
                    }
                }
            }
            self.seen.send_if_modified(|seen| {
                let newer = entry.revision > *seen;
                *seen = entry.revision.max(*seen);
                newer
            });
        }
        Ok(())
    }

    /// Waits until the watch has brought all that the bucket held when this was called.
    async fn catch_up(&self, patience: Duration) -> Result<bool, Error> {
        let stream = self.context.get_stream(format!("KV_{WEBHOOKS}")).await?;
        let last = stream.cached_info().state.last_sequence;
        let mut seen = self.seen.subscribe();
        let caught_up = timeout(patience, seen.wait_for(|seen| *seen >= last)).await;
        Ok(matches!(caught_up, Ok(Ok(_))))
    }

    /// The webhook of a number. A miss is asked of the server before it is believed.
    ///
    /// # Errors
    /// When the bus does not answer.
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

    /// The webhook of a number, as far as the cache knows.
    pub fn cached_by_phone(&self, client: ClientId, phone: &Phone) -> Option<Arc<Webhook>> {
        self.read_cache()
            .by_key
            .get(&(client, phone.clone()))
            .map(|(_, webhook)| Arc::clone(webhook))
    }

    /// The webhook of a number, as the server has it now.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn fetch_by_phone(
        &self,
        client: ClientId,
        phone: &Phone,
    ) -> Result<Option<Arc<Webhook>>, Error> {
        Ok(self.entry(client, phone).await?.map(|(_, webhook)| webhook))
    }

    async fn entry(
        &self,
        client: ClientId,
        phone: &Phone,
    ) -> Result<Option<(u64, Arc<Webhook>)>, Error> {
        let entry = self
            .bucket(WEBHOOKS)
            .await?
            .entry(text(client, phone))
            .await?;
        let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
            return Ok(None);
        };
        let webhook = Arc::new(self.read_webhook(&entry.value)?);
        self.write_cache().learn(
            (client, phone.clone()),
            entry.revision,
            Arc::clone(&webhook),
        );
        Ok(Some((entry.revision, webhook)))
    }

    /// A webhook by its id, if it is this client's.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn by_id(
        &self,
        client: ClientId,
        id: WebhookId,
    ) -> Result<Option<Arc<Webhook>>, Error> {
        if let Some(webhook) = self.cached_by_id(client, id) {
            return Ok(Some(webhook));
        }
        self.catch_up(CATCH_UP).await?;
        Ok(self.cached_by_id(client, id))
    }

    fn cached_by_id(&self, client: ClientId, id: WebhookId) -> Option<Arc<Webhook>> {
        let cache = self.read_cache();
        let key = cache.by_id.get(&id).filter(|key| key.0 == client)?;
        cache
            .by_key
            .get(key)
            .map(|(_, webhook)| Arc::clone(webhook))
    }

    /// All webhooks of a client but its operational one, by phone number.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn list(&self, client: ClientId) -> Result<Vec<Arc<Webhook>>, Error> {
        self.catch_up(CATCH_UP).await?;
        let cache = self.read_cache();
        let mine = cache
            .by_key
            .iter()
            .filter(|(key, _)| key.0 == client && !key.1.is_operational());
        let mut all: Vec<_> = mine.map(|(_, (_, webhook))| Arc::clone(webhook)).collect();
        all.sort_by(|a, b| a.phone.cmp(&b.phone));
        Ok(all)
    }

    /// Registers or changes the webhook of a number. `make` gets the present one and gives the new
    /// one; it may be called again when another node was faster. Tells whether there was none
    /// before.
    ///
    /// # Errors
    /// When the bus does not answer, or others keep changing it.
    pub async fn register(
        &self,
        client: ClientId,
        phone: &Phone,
        mut make: impl FnMut(Option<&Webhook>) -> Webhook,
    ) -> Result<(Arc<Webhook>, bool), Error> {
        let bucket = self.bucket(WEBHOOKS).await?;
        for _ in 0..CONTENTION_MAX {
            let present = self.entry(client, phone).await?;
            let webhook = make(present.as_ref().map(|(_, webhook)| &**webhook));
            let bytes = self.write_webhook(&webhook)?;
            let written = match &present {
                Some((revision, _)) => {
                    self.replace(&bucket, &text(client, phone), bytes, *revision)
                        .await?
                }
                None => match bucket.create(text(client, phone), bytes).await {
                    Ok(revision) => Some(revision),
                    Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => None,
                    Err(error) => return Err(Error::from(error)),
                },
            };
            if let Some(revision) = written {
                let webhook = Arc::new(webhook);
                self.write_cache()
                    .learn((client, phone.clone()), revision, Arc::clone(&webhook));
                return Ok((webhook, present.is_none()));
            }
        }
        Err(Error::Contended)
    }

    /// The new revision; `None` when another was faster.
    pub(super) async fn replace(
        &self,
        bucket: &kv::Store,
        key: &str,
        bytes: Bytes,
        revision: u64,
    ) -> Result<Option<u64>, Error> {
        match bucket.update(key, bytes, revision).await {
            Ok(revision) => Ok(Some(revision)),
            Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(Error::from(error)),
        }
    }

    /// Changes a webhook; `None` when this client has none of this id. No change, no write.
    ///
    /// # Errors
    /// When the bus does not answer, or others keep changing it.
    pub async fn update(
        &self,
        client: ClientId,
        id: WebhookId,
        mut change: impl FnMut(&mut Webhook),
    ) -> Result<Option<Arc<Webhook>>, Error> {
        let Some(known) = self.by_id(client, id).await? else {
            return Ok(None);
        };
        let bucket = self.bucket(WEBHOOKS).await?;
        for _ in 0..CONTENTION_MAX {
            let present = self
                .entry(client, &known.phone)
                .await?
                .filter(|(_, webhook)| webhook.id == id);
            let Some((revision, webhook)) = present else {
                return Ok(None);
            };
            let before = webhook;
            let mut webhook = Webhook::clone(&before);
            change(&mut webhook);
            if webhook == *before {
                return Ok(Some(before));
            }
            let bytes = self.write_webhook(&webhook)?;
            if let Some(revision) = self
                .replace(&bucket, &text(client, &known.phone), bytes, revision)
                .await?
            {
                let webhook = Arc::new(webhook);
                self.write_cache().learn(
                    (client, known.phone.clone()),
                    revision,
                    Arc::clone(&webhook),
                );
                return Ok(Some(webhook));
            }
        }
        Err(Error::Contended)
    }

    /// Deletes a webhook and gives it back; `None` when this client has none of this id.
    ///
    /// # Errors
    /// When the bus does not answer, or others keep changing it.
    pub async fn delete(
        &self,
        client: ClientId,
        id: WebhookId,
    ) -> Result<Option<Arc<Webhook>>, Error> {
        let Some(known) = self.by_id(client, id).await? else {
            return Ok(None);
        };
        let bucket = self.bucket(WEBHOOKS).await?;
        for _ in 0..CONTENTION_MAX {
            let present = self
                .entry(client, &known.phone)
                .await?
                .filter(|(_, webhook)| webhook.id == id);
            let Some((revision, webhook)) = present else {
                return Ok(None);
            };
            let key = text(client, &known.phone);
            if bucket
                .delete_expect_revision(&key, Some(revision))
                .await
                .is_ok()
            {
                self.write_cache()
                    .remove(&(client, known.phone.clone()), revision + 1);
                return Ok(Some(webhook));
            }
        }
        Err(Error::Contended)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::Timestamp;

    #[test]
    fn an_answer_from_before_a_deletion_brings_nothing_back() {
        let client: ClientId = 1.try_into().expect("in range");
        let phone: Phone = "4915112345678".parse().expect("valid");
        let key = (client, phone.clone());
        let id = WebhookId(Uuid::from_u128(7));
        let webhook = Arc::new(Webhook::new(
            id,
            client,
            phone,
            "https://example.com/".to_owned(),
            Timestamp::EPOCH,
        ));
        let mut cache = Cache::default();
        // Asked when the watch had not come so far: worth keeping.
        cache.learn(key.clone(), 5, Arc::clone(&webhook));
        assert!(cache.by_key.contains_key(&key));
        cache.seen(5);
        cache.put(key.clone(), 5, Arc::clone(&webhook));
        cache.learn(key.clone(), 6, Arc::clone(&webhook));
        assert_eq!(cache.by_key[&key].0, 6, "newer than the watch");
        cache.seen(7);
        cache.remove(&key, 7);
        // The answer was on its way while the deletion came.
        cache.learn(key.clone(), 6, Arc::clone(&webhook));
        assert!(
            cache.by_key.is_empty() && cache.by_id.is_empty(),
            "a deleted webhook came back"
        );
        // Registered anew.
        cache.learn(key.clone(), 8, webhook);
        assert!(cache.by_key.contains_key(&key) && cache.by_id.contains_key(&id));
    }
}
