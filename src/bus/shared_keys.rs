//! The bucket for what all nodes share, and the keys in it.

use std::sync::{Arc, OnceLock};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;

use super::{
    Error,
    bucket::{Bucket, Buckets, Raw},
    patience::patiently,
};
use crate::wire::{Keyring, SealError};

pub(super) const SETTINGS: &str = "wa_settings";
const CURSOR_KEY: &str = "cursor_key";
const MEDIA_KEY: &str = "media_key";
/// The keys that all nodes share.
pub(super) const SHARED: [&str; 2] = [CURSOR_KEY, MEDIA_KEY];

/// The keys that open this node's secrets, once they are loaded.
#[derive(Clone, Default)]
pub(super) struct LoadedKeys(Arc<OnceLock<Keyring>>);

impl LoadedKeys {
    /// A second call keeps the keys of the first.
    pub(super) fn set(&self, keys: Keyring) {
        let _ = self.0.set(keys);
    }

    pub(super) fn get(&self) -> Result<&Keyring, Error> {
        self.0.get().ok_or(Error::NoKeys)
    }
}

/// The keys that all nodes share. The first node to ask for one makes it.
#[derive(Clone)]
pub struct SharedKeys {
    bucket: Bucket<Bytes, Raw>,
    keys: LoadedKeys,
}

impl SharedKeys {
    pub(super) fn new(buckets: &Buckets, keys: LoadedKeys) -> Self {
        let bucket = buckets.bucket(SETTINGS, Raw);
        Self { bucket, keys }
    }

    /// The key that page cursors are sealed with.
    pub async fn cursor_key(&self) -> Result<[u8; 32], Error> {
        self.get_or_make(CURSOR_KEY).await
    }

    /// The key that media ids are sealed with.
    pub async fn media_key(&self) -> Result<[u8; 32], Error> {
        self.get_or_make(MEDIA_KEY).await
    }

    async fn get_or_make(&self, name: &'static str) -> Result<[u8; 32], Error> {
        let keys = self.keys.get()?;
        let made: [u8; 32] = rand::random();
        // Asked for once, at the start.
        let stored = patiently(async || {
            let sealed = || seal_shared(keys, name, &made);
            self.bucket.get_or_create(name, sealed).await
        });
        let stored = stored.await?;
        open_shared(keys, name, &stored)
    }
}

/// A shared key as it is stored.
pub(super) fn seal_shared(keys: &Keyring, name: &str, key: &[u8; 32]) -> Bytes {
    keys.seal(name, &BASE64_STANDARD.encode(key)).into()
}

/// A shared key from what is stored: sealed text, or 32 bytes in clear when it is older than the
/// sealing.
pub(super) fn open_shared(keys: &Keyring, name: &str, stored: &[u8]) -> Result<[u8; 32], Error> {
    if let Ok(key) = stored.try_into() {
        return Ok(key);
    }
    let opened = keys
        .open(name, &String::from_utf8_lossy(stored))
        .map_err(|source| does_not_open(name, source))?;
    let key = BASE64_STANDARD
        .decode(opened)
        .ok()
        .and_then(|key| key.try_into().ok());
    key.ok_or_else(|| Error::Damaged(name.to_owned()))
}

/// A secret whose key this node does not have.
pub(super) fn does_not_open(what: &str, source: SealError) -> Error {
    Error::Sealed {
        of: what.to_owned(),
        source,
    }
}
