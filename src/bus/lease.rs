//! The right to be the only one who runs something.
//!
//! A lease is a key that its bucket drops when it is not renewed. Its holder stops a margin before
//! that, by its own clock, so no two hold it at a time unless a clock stands still for longer than
//! the margin. Against that the **epoch** stands: it grows with every holder, and what the holder
//! writes to can refuse an older one.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use async_nats::jetstream::kv::{self, Operation};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use uuid::Uuid;

use super::{Bus, Error};

const LEASES: &str = "wa_leases";
/// How long a lease lasts after it was last renewed, as `nats/streams/KV_wa_leases.json` declares.
pub const LEASE_TTL: Duration = Duration::from_secs(10);
/// The holder stops so long before its lease ends.
const MARGIN: Duration = Duration::from_secs(2);

#[derive(Serialize, Deserialize)]
struct Holder {
    node: String,
    /// One per acquisition: tells whether a renewal whose answer was lost went through.
    token: Uuid,
}

struct State {
    revision: u64,
    valid_until: Instant,
}

/// A lease that this process holds.
pub struct Lease {
    bucket: kv::Store,
    key: String,
    value: bytes::Bytes,
    token: Uuid,
    epoch: u64,
    state: Mutex<State>,
}

impl Bus {
    /// Takes a lease, unless another holds it.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn acquire_lease(&self, name: &str, node: &str) -> Result<Option<Lease>, Error> {
        let bucket = self.registry().bucket(LEASES).await?;
        let asked = Instant::now();
        let (value, token) = holder(node)?;
        match bucket.create(name, value.clone()).await {
            Ok(epoch) => Ok(Some(Lease::new(bucket, name, value, token, epoch, asked))),
            Err(error) if error.kind() == kv::CreateErrorKind::AlreadyExists => Ok(None),
            Err(error) => Err(Error::from(error)),
        }
    }

    /// Takes a lease away from a holder of whom the caller knows that it is dead; `None` when
    /// nobody holds it, `is_dead` says no to the holder's name, or another was faster.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn seize_lease(
        &self,
        name: &str,
        node: &str,
        is_dead: impl FnOnce(&str) -> bool,
    ) -> Result<Option<Lease>, Error> {
        let bucket = self.registry().bucket(LEASES).await?;
        let held = bucket
            .entry(name)
            .await?
            .filter(|entry| entry.operation == Operation::Put);
        let Some(held) = held else { return Ok(None) };
        if !serde_json::from_slice::<Holder>(&held.value).is_ok_and(|holder| is_dead(&holder.node))
        {
            return Ok(None);
        }
        let asked = Instant::now();
        let (value, token) = holder(node)?;
        match bucket.update(name, value.clone(), held.revision).await {
            Ok(epoch) => Ok(Some(Lease::new(bucket, name, value, token, epoch, asked))),
            Err(error) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => Ok(None),
            Err(error) => Err(Error::from(error)),
        }
    }

    /// The names of all leases that somebody holds.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn leases(&self) -> Result<Vec<String>, Error> {
        let mut keys = self.registry().bucket(LEASES).await?.keys().await?;
        let mut all = Vec::new();
        while let Some(key) = keys.next().await {
            all.push(key?);
        }
        Ok(all)
    }
}

fn holder(node: &str) -> Result<(bytes::Bytes, Uuid), Error> {
    let holder = Holder {
        node: node.to_owned(),
        token: Uuid::now_v7(),
    };
    Ok((serde_json::to_vec(&holder)?.into(), holder.token))
}

impl Lease {
    fn new(
        bucket: kv::Store,
        key: &str,
        value: bytes::Bytes,
        token: Uuid,
        epoch: u64,
        asked: Instant,
    ) -> Self {
        let state = Mutex::new(State {
            revision: epoch,
            valid_until: asked + LEASE_TTL - MARGIN,
        });
        Self {
            bucket,
            key: key.to_owned(),
            value,
            token,
            epoch,
            state,
        }
    }

    /// Larger than that of every earlier holder.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it still stands, by this process's clock.
    pub fn is_valid(&self) -> bool {
        Instant::now() < self.state().valid_until
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Makes it last [`LEASE_TTL`] from now; `false` when another holds it, or it ended.
    ///
    /// # Errors
    /// When the bus does not answer: it may be tried again until the lease ends.
    pub async fn renew(&self) -> Result<bool, Error> {
        if !self.is_valid() {
            return Ok(false);
        }
        let asked = Instant::now();
        let revision = self.state().revision;
        let renewed = timeout(
            MARGIN,
            self.bucket.update(&self.key, self.value.clone(), revision),
        )
        .await;
        let revision = match renewed {
            Ok(Ok(revision)) => revision,
            Ok(Err(error)) if error.kind() == kv::UpdateErrorKind::WrongLastRevision => {
                // Perhaps an earlier renewal, whose answer was lost.
                match self.bucket.entry(&self.key).await? {
                    Some(entry)
                        if entry.operation == Operation::Put && self.is_ours(&entry.value) =>
                    {
                        entry.revision
                    }
                    _ => {
                        self.state().valid_until = asked;
                        return Ok(false);
                    }
                }
            }
            Ok(Err(error)) => return Err(Error::from(error)),
            Err(_) => return Err(Error::Timeout("an answer to the renewal of a lease")),
        };
        *self.state() = State {
            revision,
            valid_until: asked + LEASE_TTL - MARGIN,
        };
        Ok(true)
    }

    fn is_ours(&self, value: &[u8]) -> bool {
        serde_json::from_slice::<Holder>(value).is_ok_and(|holder| holder.token == self.token)
    }

    /// Gives it back, so that another need not wait for its end.
    pub async fn release(&self) {
        let revision = self.state().revision;
        self.state().valid_until = Instant::now();
        // Should this fail, the lease ends by itself.
        let _ = timeout(
            MARGIN,
            self.bucket
                .delete_expect_revision(&self.key, Some(revision)),
        )
        .await;
    }
}
