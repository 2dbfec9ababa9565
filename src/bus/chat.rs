//! The line of a chat, where the order of its messages matters: the first is under way or parked,
//! the others wait.
//!
//! Two rules keep a line from standing still, whoever does what at the same time and wherever they
//! are stopped. Who joins looks *afterwards* who is first. Who takes the first out looks
//! *afterwards* who is first now, and sends it on its way. So of one that joins and one that leaves
//! at once, at least one sees the other. All looks are answered by the stream's leader: another
//! replica may not know yet what was acknowledged a moment ago.

use std::time::Duration;

use async_nats::{
    HeaderMap, header,
    jetstream::{
        ErrorCode,
        consumer::{AckPolicy, DeliverPolicy, pull},
        message::StreamMessage,
        stream::{RawMessageError, RawMessageErrorKind},
    },
};
use futures_util::StreamExt;
use serde_json::json;

use super::{Bus, Error, Stream};
use crate::{
    model::{ClientId, Delivery, EventId, Phone},
    wire::{
        self,
        subject::{self, QueueEntry},
    },
};

/// Marks what a line sent on its way, with its number there.
pub(super) const FROM_LINE: &str = "wa-line";
/// How long one read of many places may take, and how long the server keeps the reader.
const READ: Duration = Duration::from_secs(10);

/// One in a line.
pub struct Queued {
    /// Its number in the stream.
    pub sequence: u64,
    /// What waits.
    pub delivery: Delivery,
}

impl Bus {
    /// Puts a delivery at the end of its chat's line, unless it is in it.
    ///
    /// # Errors
    /// [`Error::Full`] when there is no room; else when no acknowledgement came in time.
    pub async fn enqueue(&self, delivery: &Delivery) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        // Its subject is its own: there is none of it yet.
        headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        match self
            .publish(
                subject::chat(self.partition_count(), delivery),
                headers,
                wire::encode_delivery(delivery),
            )
            .await
        {
            Ok(_) | Err(Error::Exists) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The first in the line of a delivery's chat.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn queue_head(&self, of: &Delivery) -> Result<Option<Queued>, Error> {
        self.first_of(&subject::chat_queue(
            self.partition_count(),
            of.client_id,
            &of.phone,
            &of.chat,
        ))
        .await
    }

    /// The first in the line that this place is in.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn queue_head_before(&self, place: &QueueEntry) -> Result<Option<Queued>, Error> {
        self.first_of(&subject::chat_queue(
            self.partition_count(),
            place.client_id,
            &place.phone,
            &place.chat,
        ))
        .await
    }

    async fn first_of(&self, line: &str) -> Result<Option<Queued>, Error> {
        loop {
            let Some(message) = self.oldest(Stream::ChatQueues, line, 1).await? else {
                return Ok(None);
            };
            if let Ok(delivery) = wire::decode_delivery(&message.payload) {
                return Ok(Some(Queued {
                    sequence: message.sequence,
                    delivery,
                }));
            }
            tracing::error!(
                sequence = message.sequence,
                "one in a line that nobody can read"
            );
            self.undecodable(
                Stream::ChatQueues,
                message.sequence,
                &message.subject,
                &message.payload,
            )
            .await?;
            self.take_out(message.sequence).await?;
        }
    }

    /// Takes a delivery that is done with out of its chat's line. If it was the first, the next is
    /// sent on its way. `again`: it was handed out before, so whoever had it may have died between
    /// the two.
    ///
    /// Stopped before it is out, the line is as it was, and what is done with comes again. Stopped
    /// before the next is sent, it comes again too, and is then not in line: hence `again`.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn dequeue(&self, delivery: &Delivery, again: bool) -> Result<(), Error> {
        if delivery.chat.is_empty() {
            return Ok(());
        }
        let mut next = self.queue_head(delivery).await?;
        let was_first = next
            .as_ref()
            .is_some_and(|first| first.delivery.event_id == delivery.event_id);
        if let (Some(first), true) = (&next, was_first) {
            self.take_out(first.sequence).await?;
            next = self.queue_head(delivery).await?;
        } else if next.is_some()
            && let Some(place) = self
                .place_of(&subject::chat(self.partition_count(), delivery))
                .await?
        {
            self.take_out(place).await?;
        }
        match next {
            Some(next) if was_first || again => self.dispatch_head(&next).await,
            _ => Ok(()),
        }
    }

    /// Not by way of
    /// [`Stream::delete_message`](async_nats::jetstream::stream::Stream::delete_message): that has
    /// the server overwrite the bytes on its disk, which no other stream does with what is settled.
    async fn take_out(&self, sequence: u64) -> Result<(), Error> {
        let request = json!({"seq": sequence, "no_erase": true});
        self.command(
            format!("STREAM.MSG.DELETE.{}", Stream::ChatQueues),
            &request,
        )
        .await
    }

    /// Sends the first of a line on its way. A second time within the stream's duplicate window
    /// does nothing; after it, a copy that is not needed is told by its number and dropped.
    ///
    /// # Errors
    /// When no acknowledgement came in time.
    pub async fn dispatch_head(&self, first: &Queued) -> Result<(), Error> {
        let Queued { sequence, delivery } = first;
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, format!("line:{sequence}").as_str());
        headers.insert(FROM_LINE, sequence.to_string().as_str());
        let subject = subject::retry(self.partition_count(), delivery.client_id, &delivery.phone);
        self.publish(subject, headers, wire::encode_delivery(delivery))
            .await
            .map(drop)
    }

    /// Whether an event waits in a line of this number.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn is_queued(
        &self,
        client: ClientId,
        phone: &Phone,
        event: EventId,
    ) -> Result<bool, Error> {
        let subject = subject::queued_in_any_chat(self.partition_count(), client, phone, event);
        Ok(self.place_of(&subject).await?.is_some())
    }

    async fn place_of(&self, subject: &str) -> Result<Option<u64>, Error> {
        Ok(self
            .oldest(Stream::ChatQueues, subject, 1)
            .await?
            .map(|message| message.sequence))
    }

    /// Up to `max` places in the lines of a partition, from the oldest on, or after one's number;
    /// without what waits.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn queued_entries(
        &self,
        partition: u16,
        after: u64,
        max: usize,
    ) -> Result<Vec<(u64, QueueEntry)>, Error> {
        let lines = subject::chat_queues_in(partition);
        // Mostly there is none: then this was all.
        if self
            .oldest(Stream::ChatQueues, &lines, after + 1)
            .await?
            .is_none()
        {
            return Ok(Vec::new());
        }
        let stream = self.stream(Stream::ChatQueues).await?;
        let config = pull::Config {
            filter_subject: lines,
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: after + 1,
            },
            ack_policy: AckPolicy::None,
            headers_only: true,
            inactive_threshold: READ,
            memory_storage: true,
            num_replicas: 1,
            ..pull::Config::default()
        };
        let read = async {
            let consumer = stream.create_consumer(config).await?;
            let mut messages = consumer.fetch().max_messages(max).messages().await?;
            let mut places = Vec::new();
            while let Some(message) = messages.next().await {
                let message = message?;
                let sequence = message.info()?.stream_sequence;
                places.extend(QueueEntry::parse(&message.subject).map(|place| (sequence, place)));
            }
            Ok(places)
        };
        tokio::time::timeout(READ, read)
            .await
            .map_err(|_| Error::Timeout("entries of chat queues"))?
    }

    /// Bytes that wait in lines.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn chat_queue_bytes(&self) -> Result<u64, Error> {
        self.bytes_in(Stream::ChatQueues).await
    }

    /// Drops the lines of a number: its webhook is gone.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn purge_chat_queues(&self, client: ClientId, phone: &Phone) -> Result<(), Error> {
        let stream = self.stream(Stream::ChatQueues).await?;
        let lines = subject::chat_queues_of(self.partition_count(), client, phone);
        stream.purge().filter(lines).await?;
        Ok(())
    }

    /// The oldest message under a subject, from this number on, as the stream's leader has it.
    pub(super) async fn oldest(
        &self,
        stream: Stream,
        subject: &str,
        from: u64,
    ) -> Result<Option<StreamMessage>, Error> {
        let stream = self.stream(stream).await?;
        match stream.get_first_raw_message_by_subject(subject, from).await {
            Ok(message) => Ok(Some(message)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(Error::from(error)),
        }
    }
}

/// Whether the answer is that there is none.
fn is_absent(error: &RawMessageError) -> bool {
    match error.kind() {
        RawMessageErrorKind::NoMessageFound => true,
        RawMessageErrorKind::JetStream(refused) => {
            refused.error_code() == ErrorCode::NO_MESSAGE_FOUND
        }
        _ => false,
    }
}
