//! Messages that wait for their webhook.

use std::{collections::HashMap, time::Duration};

use async_nats::{HeaderMap, header, jetstream::consumer::PullConsumer};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};

use super::{Bus, Error, StoredAs, Stream, Work, stream::reader, usage::signed};
use crate::{
    model::{ClientId, Delivery, Phone, WebhookId},
    wire::{self, subject},
};

/// How long the server keeps the position of a reader that went away.
const READER_IDLE: Duration = Duration::from_secs(60);
/// How long one read may take.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// One message of WA_HOLD.
pub struct Held {
    /// Which message of the stream it is.
    pub stored_as: StoredAs,
    /// What waits, or its bytes when nobody can read it.
    pub delivery: Result<Delivery, Bytes>,
    /// Its size.
    pub bytes: usize,
}

/// What is held for one number, oldest first.
pub struct HeldReader {
    consumer: PullConsumer,
}

impl HeldReader {
    /// The next ones; none when all were read that there were when this was called.
    ///
    /// # Errors
    /// When the bus does not answer: open a new reader.
    pub async fn next(&mut self, max: usize) -> Result<Vec<Held>, Error> {
        let fetch = async {
            let mut messages = self.consumer.fetch().max_messages(max).messages().await?;
            let mut held = Vec::new();
            while let Some(message) = messages.next().await {
                let message = message?;
                let info = message.info()?;
                let stored_as = StoredAs {
                    at: info.published.into(),
                    sequence: info.stream_sequence,
                };
                let delivery =
                    wire::decode_delivery(&message.payload).map_err(|_| message.payload.clone());
                let bytes = message.payload.len();
                held.push(Held {
                    stored_as,
                    delivery,
                    bytes,
                });
            }
            Ok(held)
        };
        tokio::time::timeout(READ_TIMEOUT, fetch)
            .await
            .map_err(|_| Error::Timeout("held messages"))?
    }
}

impl Bus {
    /// Keeps a delivery until its webhook takes deliveries again. `from` is the message that came
    /// with it: the same one is held once within the stream's duplicate window, which is longer
    /// than its redeliveries last. Its event would not do: that may be released and held again.
    pub async fn hold(&self, delivery: &Delivery, work: Work, from: StoredAs) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::NATS_MESSAGE_ID,
            format!("hold:{}:{from}", work.as_str()).as_str(),
        );
        let subject = subject::hold(delivery.client_id, &delivery.phone);
        self.publish(subject, headers, wire::encode_delivery(delivery))
            .await
            .map(drop)
    }

    /// Reads what is held for a number from its beginning.
    pub async fn read_held(&self, client: ClientId, phone: &Phone) -> Result<HeldReader, Error> {
        let stream = self.stream(Stream::Held).await?;
        let config = reader(subject::hold(client, phone), READER_IDLE);
        Ok(HeldReader {
            consumer: stream.create_consumer(config).await?,
        })
    }

    /// Puts held deliveries on their way, in order and without waiting between them, then drops
    /// them from what is held. Those that are not this webhook's (it was
    /// registered again) are dropped alone, and the bytes of what nobody can read are kept in
    /// WA_DLQ; gives back how many went out. Doing it again after a crash doubles none within the
    /// stream's duplicate window.
    ///
    /// # Errors
    /// When the bus does not answer; what is left stays held.
    pub async fn release(
        &self,
        client: ClientId,
        phone: &Phone,
        webhook: WebhookId,
        held: &[Held],
    ) -> Result<u64, Error> {
        if held.is_empty() {
            return Ok(0);
        }
        let is_its = |delivery: &&Delivery| delivery.webhook_id == webhook;
        let wanted: Vec<_> = held
            .iter()
            .filter_map(|held| {
                Some((
                    held.delivery.as_ref().ok().filter(is_its)?,
                    format!("held:{}", held.stored_as),
                ))
            })
            .collect();
        let released = wanted.len() as u64;
        self.publish_deliveries(wanted.into_iter()).await?;
        for one in held {
            if let Err(bytes) = &one.delivery {
                self.undecodable(
                    Stream::Held,
                    one.stored_as,
                    &subject::hold(client, phone),
                    bytes,
                )
                .await?;
            }
        }
        let sequences = held.iter().map(|held| held.stored_as.sequence).collect();
        self.delete_all(Stream::Held, sequences).await?;
        let bytes: usize = held.iter().map(|held| held.bytes).sum();
        self.usage
            .note(&subject::hold(client, phone), -signed(bytes));
        Ok(released)
    }

    /// How many deliveries are held for each number of a client, in one question; `phone` asks for
    /// one number alone. Numbers without any are left out.
    pub async fn held_counts(
        &self,
        client: ClientId,
        phone: Option<&Phone>,
    ) -> Result<HashMap<String, u64>, Error> {
        let stream = self.stream(Stream::Held).await?;
        let filter = phone.map_or_else(
            || subject::holds_of(client),
            |phone| subject::hold(client, phone),
        );
        let mut subjects = stream.info_builder().subjects(filter).fetch().await?;
        let mut counts = HashMap::new();
        while let Some((subject, count)) = subjects.try_next().await? {
            if let Some((_, phone)) = subject.rsplit_once('.') {
                counts.insert(phone.to_owned(), count as u64);
            }
        }
        Ok(counts)
    }

    /// The numbers for which deliveries are held.
    pub async fn held_numbers(&self) -> Result<Vec<(ClientId, Phone)>, Error> {
        let stream = self.stream(Stream::Held).await?;
        let mut subjects = stream.info_builder().subjects("wa.hold.>").fetch().await?;
        let mut numbers = Vec::new();
        while let Some((subject, _)) = subjects.try_next().await? {
            let number = subject.strip_prefix("wa.hold.");
            let number = number.and_then(|number| number.split_once('.'));
            numbers.extend(
                number
                    .and_then(|(client, phone)| Some((client.parse().ok()?, phone.parse().ok()?))),
            );
        }
        Ok(numbers)
    }

    /// Drops what is held for a number: its webhook is gone.
    pub async fn purge_held(&self, client: ClientId, phone: &Phone) -> Result<(), Error> {
        self.drop_counted(Stream::Held, subject::hold(client, phone))
            .await
    }
}
