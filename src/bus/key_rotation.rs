//! The keys that secrets are sealed with: whether a node has the right ones, and sealing everything
//! with the newest one.

use bytes::Bytes;

use super::{
    Error,
    bucket::{Bucket, Buckets, Raw, Write},
    shared_keys::{SETTINGS, SHARED, does_not_open, open_shared, seal_shared},
    webhooks::WEBHOOKS,
};
use crate::wire::{self, Keyring, SealError, SealedWith};

/// A text that is sealed like the secrets: a node that opens it has the right keys.
const WITNESS: &str = "seal_witness";
const WITNESS_TEXT: &str = "wahook";

/// What sealing everything with the newest key did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Resealed {
    /// Webhooks looked at.
    pub webhooks: u64,
    /// Of these, sealed with the newest key already.
    pub current: u64,
    /// Of these, sealed again now.
    pub again: u64,
    /// Of these, in clear before.
    pub plain: u64,
    /// Sessions with keys on the bus.
    pub sessions: u64,
    /// Of these, sealed again now.
    pub sessions_again: u64,
    /// What could not be opened: what it is, and why. It stays as it is.
    pub closed: Vec<(String, String)>,
}

/// Checks and changes the keys that stored secrets are sealed with.
#[derive(Clone)]
pub struct KeyRotation {
    webhooks: Bucket<Bytes, Raw>,
    settings: Bucket<Bytes, Raw>,
}

impl KeyRotation {
    pub(super) fn new(buckets: &Buckets) -> Self {
        Self {
            webhooks: buckets.bucket(WEBHOOKS, Raw),
            settings: buckets.bucket(SETTINGS, Raw),
        }
    }

    /// Whether anything on this bus was ever sealed.
    pub async fn is_sealed(&self) -> Result<bool, Error> {
        Ok(self.settings.get(WITNESS).await?.is_some())
    }

    /// Fails when these keys are not those of the bus. The keys of the first call are.
    pub async fn check_keys(&self, keys: &Keyring) -> Result<(), Error> {
        let witness = self
            .settings
            .get_or_create(WITNESS, || witness(keys))
            .await?;
        let opened = keys
            .open(WITNESS, &String::from_utf8_lossy(&witness))
            .map_err(|source| does_not_open("the bus", source))?;
        if opened == WITNESS_TEXT {
            return Ok(());
        }
        let damaged = SealError::Damaged(keys.newest().to_owned());
        Err(does_not_open("the bus", damaged))
    }

    /// Seals every secret in the buckets with the newest key. A webhook that changes meanwhile is
    /// looked at again. `done`: what was sealed before.
    pub(super) async fn reseal_after(
        &self,
        keys: &Keyring,
        mut done: Resealed,
    ) -> Result<Resealed, Error> {
        for key in self.webhooks.keys().await? {
            self.reseal_webhook(&key, keys, &mut done).await?;
        }
        self.reseal_shared(keys, &mut done).await?;
        Ok(done)
    }

    async fn reseal_webhook(
        &self,
        key: &str,
        keys: &Keyring,
        done: &mut Resealed,
    ) -> Result<(), Error> {
        let modified = self
            .webhooks
            .modify(key, |stored| {
                let Some(stored) = stored else {
                    return Ok((Write::Keep, None));
                };
                let opened = wire::sealed_with(stored, keys)
                    .and_then(|sealing| Ok((sealing, wire::decode_webhook(stored, keys)?)));
                let write = match &opened {
                    Ok((SealedWith::NewestKey, _)) | Err(_) => Write::Keep,
                    Ok((_, webhook)) => Write::Put(wire::encode_webhook(webhook, keys).into()),
                };
                Ok::<_, Error>((write, Some(opened.map(|(sealing, _)| sealing))))
            })
            .await?;
        let Some(sealing) = modified.outcome else {
            return Ok(());
        };
        done.webhooks += 1;
        match sealing {
            Ok(SealedWith::NewestKey) => done.current += 1,
            Ok(sealing) => {
                done.again += 1;
                done.plain += u64::from(sealing == SealedWith::Nothing);
            }
            Err(error) => {
                // The key holds a phone number: the client alone is named.
                let client = key.split('.').next().unwrap_or_default();
                let what = format!("a webhook of client {client}");
                done.closed.push((what, error.to_string()));
            }
        }
        Ok(())
    }

    async fn reseal_shared(&self, keys: &Keyring, done: &mut Resealed) -> Result<(), Error> {
        for name in SHARED {
            let modified = self
                .settings
                .modify(name, |stored| {
                    let Some(stored) = stored else {
                        return Ok((Write::Keep, None));
                    };
                    Ok::<_, Error>(match open_shared(keys, name, stored) {
                        Ok(key) => (Write::Put(seal_shared(keys, name, &key)), None),
                        Err(error) => (Write::Keep, Some(error)),
                    })
                })
                .await?;
            if let Some(error) = modified.outcome {
                done.closed.push((name.to_owned(), error.to_string()));
            }
        }
        // While anything needs the older keys, a node without them must not start.
        if done.closed.is_empty() {
            self.settings.put(WITNESS, &witness(keys)).await?;
        }
        Ok(())
    }
}

fn witness(keys: &Keyring) -> Bytes {
    keys.seal(WITNESS, WITNESS_TEXT).into()
}
