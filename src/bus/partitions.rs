//! What operators see of the partitions.

use async_nats::jetstream::{consumer::PullConsumer, stream::DirectGetErrorKind};
use serde::Serialize;

use super::{Bus, Error, Stream, Work};
use crate::{
    model::{ClientId, Phone},
    wire::{self, subject},
};

/// How far behind one kind of a partition's work is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// Messages that no node has got yet.
    pub waiting: u64,
    /// Messages that a node has and did not acknowledge yet.
    pub in_hand: usize,
    /// Age of the oldest of both, in milliseconds; `None` without any.
    pub oldest_ms: Option<u64>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Partition {
    /// From 0 on.
    pub number: u16,
    /// The nodes that say that they run it: one, save for moments of a handover.
    pub nodes: Vec<String>,
    /// New messages.
    pub messages: Backlog,
    /// Due retries.
    pub retries: Backlog,
}

impl Bus {
    /// How many partitions there are.
    pub fn partition_count(&self) -> u16 {
        self.settings.partitions
    }

    /// The partition of a client's phone number.
    pub fn partition_of(&self, client: ClientId, phone: &Phone) -> u16 {
        wire::partition(client, phone, self.partition_count())
    }

    /// All partitions: who runs them and how far behind they are.
    pub async fn partitions(&self) -> Result<Vec<Partition>, Error> {
        let members = self.members().await?;
        let mut all = Vec::new();
        // Those that the streams have: an operator's settings may be older.
        for number in 0..self.partitions_found().await?.unwrap_or(0) {
            let runs = members
                .iter()
                .filter(|(_, member)| member.partitions.contains(&number));
            all.push(Partition {
                number,
                nodes: runs.map(|(name, _)| name.clone()).collect(),
                messages: self.backlog(Work::Message, number).await?,
                retries: self.backlog(Work::Retry, number).await?,
            });
        }
        Ok(all)
    }

    /// Bytes that parked and due retries take.
    pub async fn retry_bytes(&self) -> Result<u64, Error> {
        self.bytes_in(Stream::Retries).await
    }

    pub(super) async fn bytes_in(&self, stream: Stream) -> Result<u64, Error> {
        let stream = self.context.get_stream(stream.as_str()).await?;
        Ok(stream.cached_info().state.bytes)
    }

    async fn backlog(&self, work: Work, partition: u16) -> Result<Backlog, Error> {
        let (stream, consumer) = work.consumer(partition);
        let consumer: PullConsumer = self
            .context
            .get_consumer_from_stream(consumer, stream.as_str())
            .await?;
        let info = consumer.cached_info();
        let waiting = info.num_pending;
        let in_hand = info.num_ack_pending;
        let stream = self.stream(stream).await?;
        // What is acknowledged is gone from these streams: the first that is left is the oldest.
        let subjects = match work {
            Work::Message => subject::messages_in(partition),
            _ => subject::retries_in(partition),
        };
        let first = stream.direct_get_next_for_subject(subjects, Some(1)).await;
        let oldest_ms = match first {
            Ok(message) => {
                let age = time::OffsetDateTime::now_utc() - message.time;
                Some(u64::try_from(age.whole_milliseconds()).unwrap_or_default())
            }
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => None,
            Err(error) => return Err(Error::from(error)),
        };
        Ok(Backlog {
            waiting,
            in_hand,
            oldest_ms,
        })
    }
}
