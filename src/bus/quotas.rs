//! What clients have stored, counted over all processes in WA_USAGE.
//!
//! Sums that are lost with a process, and what the server removes by age, are put right when all is
//! counted afresh from the streams: at the start of a node with the role `api`, and then in
//! intervals. A lease lets one node do it at a time, since each corrects by a difference.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, jetstream::stream::DirectGetErrorKind};
use futures_util::TryStreamExt;
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{
    Bus, Error, Lease, Stream,
    sizes::PARKED,
    usage::{Key, signed},
};
use crate::{
    model::{ClientId, Quota, Usage},
    tasks::{TaskKind, Tasks},
    telemetry,
    wire::subject,
};

/// How often sums go to the counters.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
pub(super) const USAGE: &str = "WA_USAGE";
/// Adds to a counter.
const INCREMENT: &str = "Nats-Incr";
const LEASE: &str = "usage";

/// Whether a node counts all from the streams now and then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recount {
    /// It does.
    Yes,
    /// It leaves that to others.
    No,
}

/// What a counter holds.
#[derive(Deserialize)]
pub(super) struct Counter {
    val: String,
}

impl Counter {
    /// The value of a counter as the stream has it.
    pub(super) fn value(stored: &[u8]) -> Result<i64, Error> {
        let counter: Self = serde_json::from_slice(stored)?;
        Ok(counter.val.parse().unwrap_or(0))
    }
}

impl Bus {
    /// Adds up what clients store, for as long as the process lives.
    pub fn count_usage(&self, tasks: &Tasks, cancel: &CancellationToken, recount: Recount) {
        let bus = self.clone();
        let ends = cancel.clone();
        tasks.keep(TaskKind::UsageCounter, cancel, move || {
            bus.clone().keep_counting(recount, ends.clone())
        });
    }

    async fn keep_counting(self, recount: Recount, cancel: CancellationToken) {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.count_in_intervals(recount) => {}
        }
    }

    async fn count_in_intervals(&self, recount: Recount) {
        let mut ticks = interval(FLUSH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut counted_at: Option<Instant> = None;
        loop {
            ticks.tick().await;
            if let Err(error) = self.flush_usage().await {
                tracing::debug!(%error, "sums of what clients store wait");
            }
            if let Err(error) = self.read_fills().await {
                tracing::debug!(%error, "how full the streams are is not known");
            }
            let every = self.settings.quota.recount_interval;
            let is_due = counted_at.is_none_or(|at| at.elapsed() >= every);
            if recount == Recount::Yes && is_due {
                counted_at = Some(Instant::now());
                if let Err(error) = self.recount().await {
                    telemetry::error("bus", "recount");
                    tracing::warn!(%error, "what clients store is counted again later");
                }
            }
        }
    }

    /// Sends the sums of this process to the counters.
    pub(super) async fn flush_usage(&self) -> Result<(), Error> {
        for (key, bytes) in self.usage.take(Instant::now()) {
            let asked_at = Instant::now();
            match self.add(key, bytes).await {
                Ok(value) => self.usage.added(key, bytes, value, asked_at),
                Err(error) => {
                    self.usage.failed(key, bytes);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The new value of a counter.
    async fn add(&self, (quota, client): Key, bytes: i64) -> Result<i64, Error> {
        let mut headers = HeaderMap::new();
        headers.insert(INCREMENT, format!("{bytes:+}").as_str());
        let subject = subject::usage(quota, client);
        let ack = self
            .context
            .publish_with_headers(subject, headers, bytes::Bytes::new())
            .await
            .map_err(Error::from)?
            .await
            .map_err(Error::from)?;
        Ok(ack.value.and_then(|value| value.parse().ok()).unwrap_or(0))
    }

    /// What a client has stored, no older than a second, with all that this process stored since.
    pub async fn usage(&self, client: ClientId) -> Result<Usage, Error> {
        let mut usage = Usage::default();
        for quota in Quota::ALL {
            usage.set(quota, self.used((quota, client)).await?);
        }
        Ok(usage)
    }

    /// Whether a client has stored as much as this quota allows.
    pub async fn is_used_up(&self, quota: Quota, client: ClientId) -> Result<bool, Error> {
        let Some(limit) = quota.limit() else {
            return Ok(false);
        };
        Ok(self.used((quota, client)).await? >= self.limit(client, limit))
    }

    pub(super) async fn used(&self, key: Key) -> Result<u64, Error> {
        let asked_at = Instant::now();
        if let Some(bytes) = self.usage.bytes(key, asked_at) {
            return Ok(bytes);
        }
        let value = self.counter(key).await?;
        self.usage.learn(key, value, asked_at);
        Ok(self
            .usage
            .bytes(key, asked_at)
            .unwrap_or_else(|| u64::try_from(value).unwrap_or(0)))
    }

    pub(super) async fn counter(&self, (quota, client): Key) -> Result<i64, Error> {
        let stream = self.context.get_stream_no_info(USAGE).await?;
        let subject = subject::usage(quota, client);
        match stream.direct_get_last_for_subject(subject).await {
            Ok(message) => Counter::value(&message.payload),
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(0),
            Err(error) => Err(error.into()),
        }
    }

    /// Counts all from the streams and corrects the counters, unless another node does so now.
    async fn recount(&self) -> Result<(), Error> {
        let Some(lease) = self.acquire_lease(LEASE, "usage").await? else {
            tracing::debug!("another node counts what clients store");
            return Ok(());
        };
        let counted = self.count_all(&lease).await;
        if let Ok(sums) = &counted
            && lease.is_valid()
        {
            self.correct(sums).await?;
        }
        lease.release().await;
        counted.map(drop)
    }

    async fn count_all(&self, lease: &Lease) -> Result<HashMap<Key, i64>, Error> {
        let mut sums = HashMap::new();
        for (stream, filter) in [
            (Stream::Held, "wa.hold.>"),
            (Stream::ChatQueues, "wa.chat.>"),
            (Stream::DeadLetters, "wa.dlq.>"),
            (Stream::Retries, PARKED),
        ] {
            let mut sizes = self.sizes(stream, filter).await?;
            while let Some(batch) = sizes.next().await? {
                lease.renew().await?;
                for stored in batch {
                    add(&mut sums, &stored.subject, stored.bytes);
                }
            }
            sizes.end().await;
        }
        // The consumers that deliver have these subjects, and a stream of work has no others: a
        // sample stands for the messages of a number.
        for (stream, filter) in [
            (Stream::Messages, "wa.msg.>"),
            (Stream::Retries, "wa.retry.>"),
        ] {
            self.estimate(stream, filter, &mut sums).await?;
            lease.renew().await?;
        }
        Ok(sums)
    }

    /// Drops the messages under a filter: their webhook is gone. In batches, so that what was
    /// dropped is counted when this is stopped between them.
    pub(super) async fn drop_counted(&self, stream: Stream, filter: String) -> Result<(), Error> {
        let mut sizes = self.sizes(stream, &filter).await?;
        while let Some(batch) = sizes.next().await? {
            let sequences = batch.iter().map(|stored| stored.sequence).collect();
            self.delete_all(stream, sequences).await?;
            for stored in batch {
                self.usage.note(&stored.subject, -stored.bytes);
            }
        }
        sizes.end().await;
        Ok(())
    }

    /// Adds, for each subject, its number of messages times the size of its last one.
    async fn estimate(
        &self,
        stream: Stream,
        filter: &str,
        sums: &mut HashMap<Key, i64>,
    ) -> Result<(), Error> {
        let handle = self.stream(stream).await?;
        let mut subjects = handle.info_builder().subjects(filter).fetch().await?;
        while let Some((subject, count)) = subjects.try_next().await? {
            let last = handle.direct_get_last_for_subject(subject.as_str()).await;
            let bytes = match last {
                Ok(message) => message.payload.len(),
                Err(error) if error.kind() == DirectGetErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            add(sums, &subject, signed(bytes.saturating_mul(count)));
        }
        Ok(())
    }

    async fn correct(&self, counted: &HashMap<Key, i64>) -> Result<(), Error> {
        self.flush_usage().await?;
        let mut all = self.counter_keys().await?;
        all.extend(counted.keys());
        for key in all {
            let wanted = counted.get(&key).copied().unwrap_or(0);
            let asked_at = Instant::now();
            let difference = wanted - self.counter(key).await?;
            if difference != 0 {
                tracing::debug!(
                    quota = key.0.as_str(),
                    difference,
                    "a counter of what a client stores is corrected"
                );
                let value = self.add(key, difference).await?;
                self.usage.learn(key, value, asked_at);
            }
        }
        Ok(())
    }
}

/// Adds a message of this subject to all that it counts for.
fn add(sums: &mut HashMap<Key, i64>, subject: &str, bytes: i64) {
    if let Some((client, quotas)) = subject::counted(subject) {
        for quota in quotas {
            *sums.entry((*quota, client)).or_default() += bytes;
        }
    }
}
