//! Chat queues: where the order of a chat's messages matters, the head of its queue is in flight or
//! parked, and the others wait.
//!
//! Two rules keep a queue moving, also when nodes work on it at once or stop at any point. A node
//! that enqueues reads the head *afterwards*. A node that dequeues the head reads the new head
//! *afterwards*, and dispatches it. So of an enqueue and a dequeue at the same time, at least one
//! sees the other. The stream's leader answers all these reads: another replica may not know yet
//! what was acknowledged a moment ago.

use std::time::Duration;

use async_nats::{
    HeaderMap, header,
    jetstream::{
        consumer::{DeliverPolicy, pull},
        message::StreamMessage,
    },
};
use futures_util::StreamExt;

use super::{
    Bus, Error, Redelivery, StoredAs, Stream,
    patience::soon,
    stream::{is_missing, reader},
    usage::signed,
};
use crate::{
    model::{ClientId, Delivery, EventId, Phone},
    wire::{
        self,
        subject::{self, QueueEntry},
    },
};

/// Marks what a chat queue dispatched, with its number there.
pub(super) const FROM_CHAT_QUEUE: &str = "wa-line";
/// How long one read of many entries may take, and how long the server keeps the reader.
const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A head is dispatched again once in so long at most.
const DISPATCH_WINDOW_MS: i64 = 2 * 60 * 1000;

/// A delivery in a chat queue.
pub struct Queued {
    /// Which message of the stream it is.
    pub stored_as: StoredAs,
    /// What waits.
    pub delivery: Delivery,
}

impl Bus {
    /// Puts a delivery at the end of its chat's queue, unless it is in it or has no chat key.
    ///
    /// # Errors
    /// [`Error::Full`] when the stream has no room.
    pub async fn enqueue(&self, delivery: &Delivery) -> Result<(), Error> {
        let Some(subject) = subject::queued(self.partition_count(), delivery) else {
            return Ok(());
        };
        let mut headers = HeaderMap::new();
        // No other entry has its subject, so the stream has none yet.
        headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
        match self
            .publish(subject, headers, wire::encode_delivery(delivery))
            .await
        {
            Ok(_) | Err(Error::Exists) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The head of the queue of a delivery's chat.
    pub async fn queue_head(&self, delivery: &Delivery) -> Result<Option<Queued>, Error> {
        let Some(chat_key) = &delivery.chat_key else {
            return Ok(None);
        };
        self.head_under(&subject::chat_queue(
            self.partition_count(),
            delivery.client_id,
            &delivery.phone,
            chat_key,
        ))
        .await
    }

    /// The head of the queue that this entry is in.
    pub async fn queue_head_before(&self, entry: &QueueEntry) -> Result<Option<Queued>, Error> {
        self.head_under(&subject::chat_queue(
            self.partition_count(),
            entry.client_id,
            &entry.phone,
            &entry.chat_key,
        ))
        .await
    }

    async fn head_under(&self, subject: &str) -> Result<Option<Queued>, Error> {
        loop {
            let Some(message) = self.oldest(Stream::ChatQueues, subject, 1).await? else {
                return Ok(None);
            };
            let stored_as = StoredAs {
                at: message.time.into(),
                sequence: message.sequence,
            };
            if let Ok(delivery) = wire::decode_delivery(&message.payload) {
                return Ok(Some(Queued {
                    stored_as,
                    delivery,
                }));
            }
            tracing::error!(
                sequence = message.sequence,
                "an entry of a chat queue cannot be read"
            );
            self.undecodable(
                Stream::ChatQueues,
                stored_as,
                &message.subject,
                &message.payload,
            )
            .await?;
            self.delete(Stream::ChatQueues, message.sequence).await?;
            let bytes = signed(message.payload.len());
            self.usage.note(&message.subject, -bytes);
        }
    }

    /// Removes a settled delivery from its chat's queue. If it was the head, the next one is
    /// dispatched. It does nothing for a delivery without a chat key.
    ///
    /// A node may stop before the removal: then the queue is as before, and the delivery is
    /// redelivered. It may stop after the removal and before the dispatch: then the delivery is
    /// redelivered too, but is no longer in the queue. So for a redelivered one that is not in the
    /// queue, the head is dispatched.
    pub async fn dequeue(&self, delivery: &Delivery, redelivery: Redelivery) -> Result<(), Error> {
        let Some(subject) = subject::queued(self.partition_count(), delivery) else {
            return Ok(());
        };
        let mut next = self.queue_head(delivery).await?;
        let was_head = next
            .as_ref()
            .is_some_and(|head| head.delivery.event_id == delivery.event_id);
        if let (Some(head), true) = (&next, was_head) {
            self.delete_queued(head.stored_as.sequence, delivery)
                .await?;
            next = self.queue_head(delivery).await?;
        } else if next.is_some()
            && let Some(sequence) = self.sequence_of(&subject).await?
        {
            self.delete_queued(sequence, delivery).await?;
        }
        match next {
            Some(next) if was_head || redelivery == Redelivery::Again => {
                self.dispatch_head(&next).await
            }
            _ => Ok(()),
        }
    }

    async fn delete_queued(&self, sequence: u64, delivery: &Delivery) -> Result<(), Error> {
        self.delete(Stream::ChatQueues, sequence).await?;
        let bytes = signed(wire::encode_delivery(delivery).len());
        if let Some(subject) = subject::queued(self.partition_count(), delivery) {
            self.usage.note(&subject, -bytes);
        }
        Ok(())
    }

    /// Sends the head of a queue to delivery. A second call within the stream's duplicate window
    /// does nothing. After it, deliver knows a needless copy by its number and drops it.
    pub async fn dispatch_head(&self, head: &Queued) -> Result<(), Error> {
        let id = format!("line:{}", head.stored_as);
        self.dispatch_head_as(head, id).await
    }

    /// The same for a head that was dispatched, and that nobody works on: a copy that is gone must
    /// not make the server refuse this one. One that waits must not become many.
    pub async fn dispatch_head_again(&self, head: &Queued) -> Result<(), Error> {
        let window = self.now().millis() / DISPATCH_WINDOW_MS;
        let id = format!("line:{}:{window}", head.stored_as);
        self.dispatch_head_as(head, id).await
    }

    async fn dispatch_head_as(&self, head: &Queued, id: String) -> Result<(), Error> {
        let Queued {
            stored_as,
            delivery,
        } = head;
        let mut headers = HeaderMap::new();
        headers.insert(header::NATS_MESSAGE_ID, id.as_str());
        headers.insert(FROM_CHAT_QUEUE, stored_as.sequence.to_string().as_str());
        let subject = subject::retry(self.partition_count(), delivery.client_id, &delivery.phone);
        let published = self
            .publish(subject, headers, wire::encode_delivery(delivery))
            .await;
        if let Err(Error::TooLarge) = published {
            self.give_up_too_large(delivery).await?;
            // Whoever sweeps the chat queues dispatches the next one.
            return self.delete_queued(stored_as.sequence, delivery).await;
        }
        published.map(drop)
    }

    /// Whether an event waits in a chat queue of this number.
    pub async fn is_queued(
        &self,
        client: ClientId,
        phone: &Phone,
        event: EventId,
    ) -> Result<bool, Error> {
        let subject = subject::queued_in_any_chat(self.partition_count(), client, phone, event);
        Ok(self.sequence_of(&subject).await?.is_some())
    }

    async fn sequence_of(&self, subject: &str) -> Result<Option<u64>, Error> {
        Ok(self
            .oldest(Stream::ChatQueues, subject, 1)
            .await?
            .map(|message| message.sequence))
    }

    /// Up to `max` entries of the chat queues of a partition, oldest first, that come after this
    /// number in the stream. Their deliveries are not read.
    pub async fn queued_entries(
        &self,
        partition: u16,
        after: u64,
        max: usize,
    ) -> Result<Vec<(u64, QueueEntry)>, Error> {
        let subjects = subject::chat_queues_in(partition);
        // Mostly there is none, and no consumer is needed.
        if self
            .oldest(Stream::ChatQueues, &subjects, after + 1)
            .await?
            .is_none()
        {
            return Ok(Vec::new());
        }
        let stream = self.stream(Stream::ChatQueues).await?;
        let config = pull::Config {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: after + 1,
            },
            headers_only: true,
            ..reader(subjects, READ_TIMEOUT)
        };
        let read = async {
            let consumer = stream.create_consumer(config).await?;
            let mut messages = consumer.fetch().max_messages(max).messages().await?;
            let mut entries = Vec::new();
            while let Some(message) = messages.next().await {
                let message = message?;
                let sequence = message.info()?.stream_sequence;
                entries.extend(QueueEntry::parse(&message.subject).map(|entry| (sequence, entry)));
            }
            Ok(entries)
        };
        tokio::time::timeout(READ_TIMEOUT, read)
            .await
            .map_err(|_| Error::Timeout("entries of chat queues"))?
    }

    /// Bytes that wait in chat queues.
    pub async fn chat_queue_bytes(&self) -> Result<u64, Error> {
        self.bytes_in(Stream::ChatQueues).await
    }

    /// Drops the chat queues of a number whose webhook is gone.
    pub async fn purge_chat_queues(&self, client: ClientId, phone: &Phone) -> Result<(), Error> {
        let subjects = subject::chat_queues_of(self.partition_count(), client, phone);
        self.drop_counted(Stream::ChatQueues, subjects).await
    }

    /// The oldest message under a subject, from this number on, as the stream's leader has it.
    pub(super) async fn oldest(
        &self,
        stream: Stream,
        subject: &str,
        from: u64,
    ) -> Result<Option<StreamMessage>, Error> {
        let stream = &self.stream(stream).await?;
        soon(|| async move {
            match stream.get_first_raw_message_by_subject(subject, from).await {
                Ok(message) => Ok(Some(message)),
                Err(error) if is_missing(&error) => Ok(None),
                Err(error) => Err(Error::from(error)),
            }
        })
        .await
    }
}
