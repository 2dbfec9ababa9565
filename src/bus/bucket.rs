//! A key-value bucket whose values have a type.
//!
//! [`Bucket::modify`] holds the only compare-and-set loop of this room.

use std::{marker::PhantomData, time::Duration};

use async_nats::jetstream::{
    self,
    kv::{self, Operation},
};
use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::Error;

/// How often a change is tried while others change the same key.
const CONTENTION_MAX: usize = 16;
/// How long watchers may take to see it; the bucket must allow it.
const MARKER_TTL: Duration = Duration::from_secs(5);

/// How a bucket's values are stored.
pub(super) trait Codec<T>: Clone {
    fn decode(&self, bucket: &'static str, bytes: &Bytes) -> Result<T, Error>;
    fn encode(&self, bucket: &'static str, value: &T) -> Result<Bytes, Error>;
}

/// Values as JSON.
#[derive(Clone, Copy)]
pub(super) struct Json;

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    fn decode(&self, bucket: &'static str, bytes: &Bytes) -> Result<T, Error> {
        serde_json::from_slice(bytes).map_err(|source| Error::Stored { bucket, source })
    }

    fn encode(&self, bucket: &'static str, value: &T) -> Result<Bytes, Error> {
        serde_json::to_vec(value)
            .map(Bytes::from)
            .map_err(|source| Error::Stored { bucket, source })
    }
}

/// Values as their bytes.
#[derive(Clone, Copy)]
pub(super) struct Raw;

impl Codec<Bytes> for Raw {
    fn decode(&self, _: &'static str, bytes: &Bytes) -> Result<Bytes, Error> {
        Ok(bytes.clone())
    }

    fn encode(&self, _: &'static str, value: &Bytes) -> Result<Bytes, Error> {
        Ok(value.clone())
    }
}

/// Opens buckets on one connection.
#[derive(Clone)]
pub(super) struct Buckets {
    pub(super) context: jetstream::Context,
    pub(super) connections: watch::Sender<u64>,
}

impl Buckets {
    pub(super) fn bucket<T, C: Codec<T>>(&self, name: &'static str, codec: C) -> Bucket<T, C> {
        Bucket {
            buckets: self.clone(),
            name,
            codec,
            open: None,
            value: PhantomData,
        }
    }

    pub(super) fn json<T: Serialize + DeserializeOwned>(&self, name: &'static str) -> Bucket<T> {
        self.bucket(name, Json)
    }
}

/// One bucket. Clones are the same bucket.
pub(super) struct Bucket<T, C = Json> {
    buckets: Buckets,
    name: &'static str,
    codec: C,
    /// Set by [`Bucket::open`]; without it each call asks the server for the bucket first.
    open: Option<kv::Store>,
    value: PhantomData<fn() -> T>,
}

// By hand: the derived one asks for `T: Clone`.
impl<T, C: Clone> Clone for Bucket<T, C> {
    fn clone(&self) -> Self {
        Self {
            buckets: self.buckets.clone(),
            name: self.name,
            codec: self.codec.clone(),
            open: self.open.clone(),
            value: PhantomData,
        }
    }
}

/// A stored value.
pub(super) struct Entry<T> {
    pub(super) revision: u64,
    /// By the server's clock.
    pub(super) created: OffsetDateTime,
    pub(super) value: T,
}

/// What [`Bucket::modify`] shall do with a key.
pub(super) enum Write<T> {
    Put(T),
    Delete,
    /// The key stays as it is.
    Keep,
}

/// What [`Bucket::modify`] did.
pub(super) struct Modified<T, O> {
    /// What was there before.
    pub(super) before: Option<Entry<T>>,
    /// What was written, with its revision; `None` when the key was kept or deleted.
    pub(super) written: Option<(u64, T)>,
    /// What the caller's function gave beside.
    pub(super) outcome: O,
}

impl<T, C: Codec<T>> Bucket<T, C> {
    /// The same bucket, asked for now and not again with each call.
    pub(super) async fn open(mut self) -> Result<Self, Error> {
        self.open = Some(self.store().await?);
        Ok(self)
    }

    pub(super) async fn store(&self) -> Result<kv::Store, Error> {
        match &self.open {
            Some(store) => Ok(store.clone()),
            None => Ok(self.buckets.context.get_key_value(self.name).await?),
        }
    }

    pub(super) fn context(&self) -> jetstream::Context {
        self.buckets.context.clone()
    }

    pub(super) fn decode(&self, bytes: &Bytes) -> Result<T, Error> {
        self.codec.decode(self.name, bytes)
    }

    fn encode(&self, value: &T) -> Result<Bytes, Error> {
        self.codec.encode(self.name, value)
    }

    pub(super) async fn get(&self, key: &str) -> Result<Option<T>, Error> {
        Ok(self.entry(key).await?.map(|entry| entry.value))
    }

    /// The value with its revision; `None` when there is none, or it was deleted.
    pub(super) async fn entry(&self, key: &str) -> Result<Option<Entry<T>>, Error> {
        self.entry_in(&self.store().await?, key).await
    }

    pub(super) async fn entry_in(
        &self,
        store: &kv::Store,
        key: &str,
    ) -> Result<Option<Entry<T>>, Error> {
        let entry = store.entry(key).await?;
        let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
            return Ok(None);
        };
        Ok(Some(Entry {
            revision: entry.revision,
            created: entry.created,
            value: self.decode(&entry.value)?,
        }))
    }

    /// The new revision; `None` when the key has a value already.
    pub(super) async fn create(&self, key: &str, value: &T) -> Result<Option<u64>, Error> {
        create(&self.store().await?, key, self.encode(value)?).await
    }

    /// The value of a key; the one that `make` gives when there is none and no other is faster.
    pub(super) async fn get_or_create(&self, key: &str, make: impl Fn() -> T) -> Result<T, Error> {
        let modified = self
            .modify(key, |present| {
                let write = match present {
                    Some(_) => Write::Keep,
                    None => Write::Put(make()),
                };
                Ok::<_, Error>((write, ()))
            })
            .await?;
        let before = modified.before.map(|entry| entry.value);
        let value = modified.written.map(|(_, value)| value).or(before);
        Ok(value.expect("a missing one was made"))
    }

    /// Writes a value, whether there is one or not.
    pub(super) async fn put(&self, key: &str, value: &T) -> Result<u64, Error> {
        Ok(self.store().await?.put(key, self.encode(value)?).await?)
    }

    /// The new revision; `None` when the key has another revision than this.
    pub(super) async fn replace(
        &self,
        key: &str,
        value: &T,
        revision: u64,
    ) -> Result<Option<u64>, Error> {
        replace(&self.store().await?, key, self.encode(value)?, revision).await
    }

    /// Deletes a key; its marker stays.
    pub(super) async fn delete(&self, key: &str) -> Result<(), Error> {
        Ok(self.store().await?.delete(key).await?)
    }

    /// Deletes a key if it has this revision; whether it had.
    pub(super) async fn delete_revision(&self, key: &str, revision: u64) -> Result<bool, Error> {
        delete(&self.store().await?, key, revision).await
    }

    /// Deletes a key; a marker without its earlier values stays.
    pub(super) async fn purge(&self, key: &str) -> Result<(), Error> {
        Ok(self.store().await?.purge(key).await?)
    }

    /// Deletes a key whose marker goes soon: each costs [`Bucket::list`] a look.
    pub(super) async fn forget(&self, key: &str) -> Result<(), Error> {
        Ok(self.store().await?.purge_with_ttl(key, MARKER_TTL).await?)
    }

    /// Reads a key and writes what `decide` makes of it. `decide` is called again with the newer
    /// value when another was faster. Its error ends this without a write.
    pub(super) async fn modify<O, E: From<Error>>(
        &self,
        key: &str,
        mut decide: impl FnMut(Option<&T>) -> Result<(Write<T>, O), E>,
    ) -> Result<Modified<T, O>, E> {
        let store = self.store().await?;
        for _ in 0..CONTENTION_MAX {
            let before = self.entry_in(&store, key).await?;
            let (write, outcome) = decide(before.as_ref().map(|entry| &entry.value))?;
            let revision = before.as_ref().map(|entry| entry.revision);
            let written = match (write, revision) {
                (Write::Put(value), revision) => {
                    let bytes = self.encode(&value)?;
                    let written = match revision {
                        Some(revision) => replace(&store, key, bytes, revision).await?,
                        None => create(&store, key, bytes).await?,
                    };
                    let Some(written) = written else { continue };
                    Some((written, value))
                }
                (Write::Delete, Some(revision)) => {
                    if !delete(&store, key, revision).await? {
                        continue;
                    }
                    None
                }
                (Write::Delete, None) | (Write::Keep, _) => None,
            };
            return Ok(Modified {
                before,
                written,
                outcome,
            });
        }
        Err(Error::Contended.into())
    }

    /// Counts connections.
    pub(super) fn connections(&self) -> watch::Receiver<u64> {
        self.buckets.connections.subscribe()
    }
}

impl<T: Clone + PartialEq, C: Codec<T>> Bucket<T, C> {
    /// Changes a value and gives it back as it is then, with what `change` gave; `None` when there
    /// is none. An unchanged value is not written; nor is anything when `change` fails.
    pub(super) async fn change<O, E: From<Error>>(
        &self,
        key: &str,
        mut change: impl FnMut(&mut T) -> Result<O, E>,
    ) -> Result<Option<(T, O)>, E> {
        let modified = self
            .modify(key, |present| {
                let Some(present) = present else {
                    return Ok((Write::Keep, None));
                };
                let mut value = present.clone();
                let outcome = change(&mut value)?;
                let write = if value == *present {
                    Write::Keep
                } else {
                    Write::Put(value)
                };
                Ok::<_, E>((write, Some(outcome)))
            })
            .await?;
        let value = modified
            .written
            .map(|(_, value)| value)
            .or(modified.before.map(|entry| entry.value));
        Ok(value.zip(modified.outcome))
    }
}

async fn create(store: &kv::Store, key: &str, bytes: Bytes) -> Result<Option<u64>, Error> {
    match store.create(key, bytes).await {
        Ok(revision) => Ok(Some(revision)),
        Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn replace(
    store: &kv::Store,
    key: &str,
    bytes: Bytes,
    revision: u64,
) -> Result<Option<u64>, Error> {
    match store.update(key, bytes, revision).await {
        Ok(revision) => Ok(Some(revision)),
        Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn delete(store: &kv::Store, key: &str, revision: u64) -> Result<bool, Error> {
    match store.delete_expect_revision(key, Some(revision)).await {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == kv::DeleteErrorKind::WrongLastRevision => Ok(false),
        // The acknowledgement alone may be lost. A marker says that the key is gone.
        Err(error) => match store.entry(key).await {
            Ok(Some(found)) if found.operation != Operation::Put && found.revision > revision => {
                Ok(true)
            }
            _ => Err(error.into()),
        },
    }
}
