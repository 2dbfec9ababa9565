//! The counters of all clients at once.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use async_nats::jetstream::consumer::{DeliverPolicy, pull};
use futures_util::{StreamExt, TryStreamExt};
use tokio::time::timeout;

use super::{
    Bus, Error,
    quotas::{Counter, USAGE},
    stream::reader,
    usage::Key,
};
use crate::{
    model::{ClientId, Usage},
    wire::subject,
};

/// Counters of one read.
const BATCH: usize = 1000;
/// How long one read may take, and the server keeps the reader.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

impl Bus {
    /// What each client has stored, no older than two seconds. Clients that never stored anything
    /// are left out.
    pub async fn usage_of_all(&self) -> Result<HashMap<ClientId, Usage>, Error> {
        let mut all: HashMap<ClientId, Usage> = HashMap::new();
        for ((quota, client), value) in self.counters().await? {
            let bytes = u64::try_from(value).unwrap_or(0);
            all.entry(client).or_default().set(quota, bytes);
        }
        Ok(all)
    }

    async fn counters(&self) -> Result<HashMap<Key, i64>, Error> {
        let mut counters = self.last_of_each().await?;
        // A counter that was added to meanwhile may be missing: it left its place before the
        // reader came to it.
        let mut missing = self.counter_keys().await?;
        missing.retain(|key| !counters.contains_key(key));
        for key in missing {
            counters.insert(key, self.counter(key).await?);
        }
        Ok(counters)
    }

    /// What there are counters of.
    pub(super) async fn counter_keys(&self) -> Result<BTreeSet<Key>, Error> {
        let stream = self.context.get_stream_no_info(USAGE).await?;
        let mut subjects = stream.info_builder().subjects("wa.usage.>").fetch().await?;
        let mut keys = BTreeSet::new();
        while let Some((subject, _)) = subjects.try_next().await? {
            keys.extend(subject::parse_usage(&subject));
        }
        Ok(keys)
    }

    async fn last_of_each(&self) -> Result<HashMap<Key, i64>, Error> {
        let stream = self.context.get_stream_no_info(USAGE).await?;
        let config = pull::Config {
            deliver_policy: DeliverPolicy::LastPerSubject,
            ..reader("wa.usage.>".to_owned(), READ_TIMEOUT)
        };
        let consumer = stream.create_consumer(config).await?;
        let name = consumer.cached_info().name.clone();
        let mut counters = HashMap::new();
        loop {
            let batch = consumer.fetch().max_messages(BATCH).messages();
            let read = async {
                let mut messages = batch.await?;
                let mut count = 0;
                while let Some(message) = messages.next().await {
                    let message = message?;
                    count += 1;
                    if let Some(key) = subject::parse_usage(&message.subject) {
                        counters.insert(key, Counter::value(&message.payload)?);
                    }
                }
                Ok::<_, Error>(count)
            };
            let count = timeout(READ_TIMEOUT, read)
                .await
                .map_err(|_| Error::Timeout("counters of what clients store"))??;
            if count < BATCH {
                break;
            }
        }
        if let Err(error) = stream.delete_consumer(&name).await {
            tracing::debug!(%error, "a reader of counters ends by itself");
        }
        Ok(counters)
    }
}
