//! The right to be the only one who runs something.
//!
//! A lease is a key that its bucket drops when it is not renewed. Its holder stops a margin before
//! that, by its own clock. So no two hold it at a time, unless a clock stops for longer than the
//! margin. The **epoch** guards against that. It grows with every holder, and the system that the
//! holder writes to can refuse an older one.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::time::{interval, timeout};
use uuid::Uuid;

use super::{Bus, Error, bucket::Bucket};

const LEASES: &str = "wa_leases";
/// How long a lease lasts after it was last renewed, as `nats/streams/KV_wa_leases.json` declares.
pub const LEASE_TTL: Duration = Duration::from_secs(10);
/// How often a lease is renewed that is kept.
const RENEW_INTERVAL: Duration = Duration::from_secs(LEASE_TTL.as_secs() / 4);
/// The holder stops this long before its lease ends.
const MARGIN: Duration = Duration::from_secs(2);

#[derive(Serialize, Deserialize)]
struct Holder {
    node: String,
    /// One per acquisition: tells whether a renewal whose answer was lost went through.
    token: Uuid,
}

impl Holder {
    fn new(node: &str) -> Self {
        Self {
            node: node.to_owned(),
            token: Uuid::now_v7(),
        }
    }
}

/// How long the last renewal holds.
struct Term {
    revision: u64,
    valid_until: Instant,
}

impl Term {
    /// `asked_at` is when the request was sent: the server may count from then on.
    fn new(revision: u64, asked_at: Instant) -> Self {
        Self {
            revision,
            valid_until: asked_at + LEASE_TTL - MARGIN,
        }
    }

    fn is_valid(&self, now: Instant) -> bool {
        now < self.valid_until
    }

    fn end(&mut self, now: Instant) {
        self.valid_until = self.valid_until.min(now);
    }
}

/// The number of a holder. A bucket that is deleted and made again counts its revisions from 1
/// again, so the microsecond in which it was made is added: no bucket is written as often.
fn epoch(bucket_created_at: OffsetDateTime, revision: u64) -> u64 {
    let micros = bucket_created_at.unix_timestamp_nanos() / 1000;
    u64::try_from(micros)
        .unwrap_or_default()
        .saturating_add(revision)
}

/// A lease that this process holds.
pub struct Lease {
    bucket: Bucket<Holder>,
    key: String,
    holder: Holder,
    epoch: u64,
    term: Mutex<Term>,
}

impl Bus {
    /// Takes a lease, unless another holds it.
    pub async fn acquire_lease(&self, name: &str, node: &str) -> Result<Option<Lease>, Error> {
        let bucket = self.lease_bucket().open().await?;
        let holder = Holder::new(node);
        let asked_at = Instant::now();
        let revision = bucket.create(name, &holder).await?;
        Lease::taken(bucket, name, holder, revision, asked_at).await
    }

    /// Takes a lease away from a holder that `is_dead` says is dead. `None` when nobody holds it,
    /// its holder is not dead, or another was faster.
    pub async fn seize_lease(
        &self,
        name: &str,
        node: &str,
        is_dead: impl FnOnce(&str) -> bool,
    ) -> Result<Option<Lease>, Error> {
        let bucket = self.lease_bucket().open().await?;
        let held = match bucket.entry(name).await {
            Ok(Some(held)) if is_dead(&held.value.node) => held,
            Ok(_) | Err(Error::Stored { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let holder = Holder::new(node);
        let asked_at = Instant::now();
        let revision = bucket.replace(name, &holder, held.revision).await?;
        Lease::taken(bucket, name, holder, revision, asked_at).await
    }

    /// The names of all leases that are held.
    pub async fn leases(&self) -> Result<Vec<String>, Error> {
        self.lease_bucket().keys().await
    }

    /// The leases under names like this that are held, and the revision of each.
    pub async fn lease_revisions(&self, filter: &str) -> Result<Vec<(String, u64)>, Error> {
        let held = self.lease_bucket().list(filter).await?;
        let revisions = held.into_iter().map(|(name, entry)| (name, entry.revision));
        Ok(revisions.collect())
    }

    fn lease_bucket(&self) -> Bucket<Holder> {
        self.buckets().json(LEASES)
    }
}

impl Lease {
    /// The lease, if there is a revision that took it.
    async fn taken(
        bucket: Bucket<Holder>,
        key: &str,
        holder: Holder,
        revision: Option<u64>,
        asked_at: Instant,
    ) -> Result<Option<Self>, Error> {
        let Some(revision) = revision else {
            return Ok(None);
        };
        // The bucket was opened just now, so this asks nobody.
        let bucket_created_at = bucket.store().await?.stream.cached_info().created;
        Ok(Some(Self {
            bucket,
            key: key.to_owned(),
            holder,
            epoch: epoch(bucket_created_at, revision),
            term: Mutex::new(Term::new(revision, asked_at)),
        }))
    }

    /// Larger than that of every earlier holder.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether it is still held, by this process's clock.
    pub fn is_valid(&self) -> bool {
        let now = Instant::now();
        self.term().is_valid(now)
    }

    fn term(&self) -> MutexGuard<'_, Term> {
        self.term.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes it last [`LEASE_TTL`] from now; `false` when another holds it, or it ended. After an
    /// error it may be tried again until the lease ends.
    pub async fn renew(&self) -> Result<bool, Error> {
        if !self.is_valid() {
            return Ok(false);
        }
        let asked_at = Instant::now();
        let revision = self.term().revision;
        let renewed = timeout(
            MARGIN,
            self.bucket.replace(&self.key, &self.holder, revision),
        )
        .await
        .map_err(|_| Error::Timeout("answer to the renewal of a lease"))??;
        let revision = match renewed {
            Some(revision) => revision,
            // Perhaps an earlier renewal went through, and its answer was lost.
            None => match self.bucket.entry(&self.key).await? {
                Some(entry) if entry.value.token == self.holder.token => entry.revision,
                _ => {
                    self.term().end(asked_at);
                    return Ok(false);
                }
            },
        };
        *self.term() = Term::new(revision, asked_at);
        Ok(true)
    }

    /// Renews it again and again; ends when it is lost.
    pub async fn keep(&self) {
        self.keep_every(RENEW_INTERVAL).await;
    }

    /// The same with this interval.
    pub async fn keep_every(&self, renew_interval: Duration) {
        let mut ticks = interval(renew_interval);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            match self.renew().await {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) if !self.is_valid() => return,
                Err(error) => tracing::debug!(%error, "renewing a lease again"),
            }
        }
    }

    /// Gives it back, so that another need not wait for its end.
    pub async fn release(&self) {
        let now = Instant::now();
        let revision = {
            let mut term = self.term();
            term.end(now);
            term.revision
        };
        // Should this fail, the lease ends by itself.
        let _ = timeout(MARGIN, self.bucket.delete_revision(&self.key, revision)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_valid_until_its_margin_counted_from_the_request() {
        let asked_at = Instant::now();
        let term = Term::new(3, asked_at);
        for (after_ms, is_valid) in [(0, true), (7_999, true), (8_000, false), (10_000, false)] {
            let now = asked_at + Duration::from_millis(after_ms);
            assert_eq!(term.is_valid(now), is_valid, "after {after_ms} ms");
        }
    }

    #[test]
    fn an_epoch_is_later_than_all_of_an_earlier_bucket_and_than_plain_revisions() {
        let first = OffsetDateTime::from_unix_timestamp(1_790_000_000).expect("a time");
        let second = first + Duration::from_secs(3600);
        assert!(epoch(first, 8) > epoch(first, 7));
        assert!(epoch(second, 1) > epoch(first, 3_000_000_000));
        assert!(epoch(first, 1) > u64::from(u32::MAX), "as files have it");
    }

    #[test]
    fn a_lease_that_was_ended_is_not_valid_and_an_end_never_extends_it() {
        let asked_at = Instant::now();
        let mut term = Term::new(3, asked_at);
        let early = asked_at + Duration::from_secs(1);
        term.end(early);
        assert!(!term.is_valid(early));
        term.end(asked_at + Duration::from_secs(60));
        assert!(!term.is_valid(early), "the later end does not count");
    }
}
