//! The keys that secrets are sealed with: whether a node has the right ones, and sealing everything
//! anew.

use async_nats::jetstream::kv::{self, Operation};
use futures_util::StreamExt;

use super::{
    Error, Registry,
    registry::{CONTENTION_MAX, WEBHOOKS},
    settings::{SETTINGS, SHARED, does_not_open, open_shared, seal_shared},
};
use crate::wire::{self, Keyring, SealError, SealedWith};

/// A text that is sealed like the secrets: whoever opens it has the right keys.
const WITNESS: &str = "seal_witness";
const WITNESS_TEXT: &str = "wahook";

/// What sealing everything anew came to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Resealed {
    /// Webhooks looked at.
    pub webhooks: u64,
    /// Of these, sealed with the newest key already.
    pub current: u64,
    /// Sealed anew now.
    pub anew: u64,
    /// Of these, in clear before.
    pub plain: u64,
    /// What could not be opened: what it is, and why. It stays as it is.
    pub closed: Vec<(String, String)>,
}

impl Registry {
    /// Whether anything on this bus was ever sealed.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn is_sealed(&self) -> Result<bool, Error> {
        Ok(self.bucket(SETTINGS).await?.get(WITNESS).await?.is_some())
    }

    /// Whether these keys are those of the bus. The first keys that come are.
    ///
    /// # Errors
    /// When they are not, or the bus does not answer.
    pub async fn check_keys(&self, keys: &Keyring) -> Result<(), Error> {
        let bucket = self.bucket(SETTINGS).await?;
        loop {
            if let Some(bytes) = bucket.get(WITNESS).await? {
                let opened = keys
                    .open(WITNESS, &String::from_utf8_lossy(&bytes))
                    .map_err(|source| does_not_open("the bus", source))?;
                let damaged =
                    || does_not_open("the bus", SealError::Damaged(keys.newest().to_owned()));
                return if opened == WITNESS_TEXT {
                    Ok(())
                } else {
                    Err(damaged())
                };
            }
            match bucket
                .create(WITNESS, keys.seal(WITNESS, WITNESS_TEXT).into())
                .await
            {
                Ok(_) => return Ok(()),
                // Another node was first: its keys count.
                Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => {}
                Err(error) => return Err(Error::from(error)),
            }
        }
    }

    /// Seals every stored secret with the newest key. What changes meanwhile is looked at again;
    /// what is done stays done, so that it can be called again after it was cut off.
    ///
    /// # Errors
    /// When the bus does not answer, or others keep changing the same webhook.
    pub async fn reseal(&self, keys: &Keyring) -> Result<Resealed, Error> {
        let bucket = self.bucket(WEBHOOKS).await?;
        let mut all = bucket.keys().await?;
        let mut done = Resealed::default();
        while let Some(key) = all.next().await {
            self.reseal_webhook(&bucket, &key?, keys, &mut done).await?;
        }
        self.reseal_settings(keys, &mut done).await?;
        Ok(done)
    }

    async fn reseal_webhook(
        &self,
        bucket: &kv::Store,
        key: &str,
        keys: &Keyring,
        done: &mut Resealed,
    ) -> Result<(), Error> {
        for _ in 0..CONTENTION_MAX {
            let entry = bucket.entry(key).await?;
            let Some(entry) = entry.filter(|entry| entry.operation == Operation::Put) else {
                return Ok(());
            };
            let sealing = wire::sealed_with(&entry.value, keys);
            let opened = wire::decode_webhook(&entry.value, keys);
            let (sealing, webhook) = match (sealing, opened) {
                (Ok(sealing), Ok(webhook)) => (sealing, webhook),
                (Err(error), _) | (_, Err(error)) => {
                    // The key holds a phone number: the client alone is named.
                    let client = key.split('.').next().unwrap_or_default();
                    done.webhooks += 1;
                    done.closed
                        .push((format!("a webhook of client {client}"), error.to_string()));
                    return Ok(());
                }
            };
            if sealing != SealedWith::NewestKey {
                let bytes = wire::encode_webhook(&webhook, keys).into();
                if self
                    .replace(bucket, key, bytes, entry.revision)
                    .await?
                    .is_none()
                {
                    continue;
                }
                done.anew += 1;
            }
            done.webhooks += 1;
            done.current += u64::from(sealing == SealedWith::NewestKey);
            done.plain += u64::from(sealing == SealedWith::Nothing);
            return Ok(());
        }
        Err(Error::Contended)
    }

    async fn reseal_settings(&self, keys: &Keyring, done: &mut Resealed) -> Result<(), Error> {
        let bucket = self.bucket(SETTINGS).await?;
        for name in SHARED {
            if let Some(entry) = bucket.entry(name).await? {
                match open_shared(keys, name, &entry.value) {
                    Ok(key) => {
                        let anew = seal_shared(keys, name, &key);
                        self.replace(&bucket, name, anew, entry.revision).await?;
                    }
                    Err(error) => done.closed.push((name.to_owned(), error.to_string())),
                }
            }
        }
        // While anything needs the older keys, a node without them must not start.
        if done.closed.is_empty() {
            bucket
                .put(WITNESS, keys.seal(WITNESS, WITNESS_TEXT).into())
                .await?;
        }
        Ok(())
    }
}
