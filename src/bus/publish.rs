//! Publishing until acknowledged.

use std::{future::IntoFuture as _, time::Duration};

use async_nats::{
    HeaderMap, header,
    jetstream::{context::PublishErrorKind, publish::PublishAck},
};
use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout_at};

use super::{Bus, Error, StoredAs, Stream, patience::FIRST_ANSWER_WITHIN, usage::signed};
use crate::{
    model::{Attempt, Delivery, Message, Quota},
    telemetry,
    wire::{self, DeadLetter, subject},
};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// What is kept of a message that nobody can read: enough to tell what it was.
const UNDECODABLE_BYTES_MAX: usize = 64 * 1024;

/// What follows the reason of a dead letter without its body.
const BODY_CUT: &str = " (stored without its body: no room or quota for dead letters)";

/// What the stream said of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Its number in WA_MSG.
    pub sequence: u64,
    /// Whether the stream had it already; it is not stored twice.
    pub duplicate: bool,
}

/// A message as it is published. It takes less memory than the [`Message`] does.
pub struct EncodedMessage {
    subject: String,
    headers: HeaderMap,
    payload: Vec<u8>,
}

impl EncodedMessage {
    /// Encodes a message.
    pub fn new(message: &Message) -> Self {
        Self::with_dedupe_id(message, &wire::message_dedupe_id(message))
    }

    /// Its size in the stream.
    pub fn bytes(&self) -> usize {
        self.payload.len()
    }

    fn with_dedupe_id(message: &Message, dedupe_id: &str) -> Self {
        Self {
            subject: subject::message(message.client_id, &message.phone),
            headers: with_id(dedupe_id.to_owned()),
            payload: wire::encode_message(message),
        }
    }
}

impl Bus {
    /// Publishes a message; once this returns, it will be delivered, held, or found in the dead
    /// letters.
    ///
    /// # Errors
    /// When no acknowledgement came in time: it may be stored all the same, and publishing it again
    /// does no harm.
    pub async fn publish_message(&self, message: &Message) -> Result<Published, Error> {
        self.publish_encoded(EncodedMessage::new(message)).await
    }

    /// Publishes a message under an id of the source's own: what WhatsApp hands out twice may
    /// differ in what was learnt between, like the sender's number.
    ///
    /// # Errors
    /// As [`publish_message`](Self::publish_message).
    pub async fn publish_message_as(
        &self,
        message: &Message,
        dedupe_id: &str,
    ) -> Result<Published, Error> {
        self.publish_encoded(EncodedMessage::with_dedupe_id(message, dedupe_id))
            .await
    }

    /// Publishes a message that is encoded already.
    ///
    /// # Errors
    /// As [`publish_message`](Self::publish_message).
    pub async fn publish_encoded(&self, message: EncodedMessage) -> Result<Published, Error> {
        let EncodedMessage {
            subject,
            headers,
            payload,
        } = message;
        let ack = self.publish(subject, headers, payload).await?;
        telemetry::message_published(ack.duplicate);
        Ok(Published {
            sequence: ack.sequence,
            duplicate: ack.duplicate,
        })
    }

    /// Asks for one more attempt at once. Asking twice for the same one makes one.
    pub async fn publish_delivery(&self, delivery: &Delivery) -> Result<(), Error> {
        self.publish_delivery_as(
            delivery,
            format!("retry:{}:{}", delivery.event_id, delivery.attempt_count),
        )
        .await
    }

    pub(super) async fn publish_delivery_as(
        &self,
        delivery: &Delivery,
        id: String,
    ) -> Result<(), Error> {
        let subject = subject::retry(self.partition_count(), delivery.client_id, &delivery.phone);
        self.publish(subject, with_id(id), wire::encode_delivery(delivery))
            .await
            .map(drop)
    }

    /// Publishes all of them one behind the other and only then waits for the acknowledgements: the
    /// stream has them in this order. Those that are not acknowledged are published once more under
    /// the same ids, in order among themselves.
    pub(super) async fn publish_deliveries<'a>(
        &self,
        all: impl Iterator<Item = (&'a Delivery, String)>,
    ) -> Result<(), Error> {
        let mut sent = Vec::new();
        for (delivery, id) in all {
            let subject =
                subject::retry(self.partition_count(), delivery.client_id, &delivery.phone);
            let payload = Bytes::from(wire::encode_delivery(delivery));
            self.acquire_retry_room(&payload).await?;
            let bytes = payload.len();
            let acknowledged = self
                .context
                .publish_with_headers(subject.clone(), with_id(id.clone()), payload)
                .await;
            sent.push((delivery, id, (subject, bytes), acknowledged));
        }
        let deadline = Instant::now() + self.settings.publish_deadline;
        let mut missing = Vec::new();
        for (delivery, id, (subject, bytes), acknowledged) in sent {
            let ack = match acknowledged {
                Ok(acknowledged) => timeout_at(deadline, acknowledged.into_future()).await.ok(),
                Err(_) => None,
            };
            if let Some(Ok(ack)) = ack {
                if !ack.duplicate {
                    self.usage.note(&subject, signed(bytes));
                }
            } else {
                missing.push((delivery, id));
            }
        }
        for (delivery, id) in missing {
            match self.publish_delivery_as(delivery, id).await {
                Err(Error::TooLarge) => self.give_up_too_large(delivery).await?,
                published => published?,
            }
        }
        Ok(())
    }

    /// Keeps the bytes of a message that nobody can read, cut off at [`UNDECODABLE_BYTES_MAX`];
    /// `wa-subject` and `wa-bytes` tell where it lay and how long it was.
    pub async fn undecodable(
        &self,
        stream: Stream,
        stored_as: StoredAs,
        subject: &str,
        payload: &[u8],
    ) -> Result<(), Error> {
        let mut headers = with_id(format!("undecodable:{stream}:{stored_as}"));
        headers.insert("wa-subject", subject);
        headers.insert("wa-bytes", payload.len().to_string().as_str());
        let kept = payload[..payload.len().min(UNDECODABLE_BYTES_MAX)].to_vec();
        self.publish(subject::undecodable(stream.as_str()), headers, kept)
            .await
            .map(drop)
    }

    /// Keeps what was given up. Without room it is kept without its body, and without any room at
    /// all it is only counted: the audit has it, and waiting would stop the partition.
    pub async fn dead_letter(&self, letter: &DeadLetter) -> Result<(), Error> {
        let client = letter.delivery.client_id;
        let has_room = !self.is_used_up(Quota::DeadLetters, client).await?
            && !self.is_over_share(Stream::DeadLetters, client, 0).await?;
        if has_room {
            match self.publish_dead_letter(letter).await {
                Err(Error::Full | Error::TooLarge) => {}
                published => return published,
            }
        }
        match self.publish_dead_letter(&without_body(letter)).await {
            Err(Error::Full) => {
                telemetry::dead_letter_cut("dropped");
                tracing::error!(
                    event.id = %letter.delivery.event_id,
                    "WA_DLQ is full: a dead letter is in the audit alone; raise \
                     bus.dead_letter_bytes_max or purge the stream"
                );
                Ok(())
            }
            published => {
                telemetry::dead_letter_cut("cut");
                published
            }
        }
    }

    async fn publish_dead_letter(&self, letter: &DeadLetter) -> Result<(), Error> {
        let delivery = &letter.delivery;
        let headers = with_id(format!(
            "dead:{}:{}",
            delivery.event_id, delivery.attempt_count
        ));
        let subject = subject::dead_letter(delivery.client_id, &delivery.phone);
        self.publish(subject, headers, wire::encode_dead_letter(letter))
            .await
            .map(drop)
    }

    /// Hands a group of results to `record`. Writing one twice does no harm, so it has no id.
    pub async fn publish_results(&self, partition: u16, attempts: &[Attempt]) -> Result<(), Error> {
        let payload = wire::encode_attempts(attempts);
        self.publish(subject::result(partition), HeaderMap::new(), payload)
            .await
            .map(drop)
    }

    /// Waits until a message of this size may be published to WA_RETRY.
    async fn acquire_retry_room(&self, payload: &[u8]) -> Result<(), Error> {
        let patience = self.settings.publish_deadline;
        self.retry_room.acquire(payload.len(), patience).await
    }

    /// Tries again, under the same headers, until `publish_deadline`.
    pub(super) async fn publish(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Vec<u8>,
    ) -> Result<PublishAck, Error> {
        if is_retry(&subject) {
            self.acquire_retry_room(&payload).await?;
        }
        let payload = Bytes::from(payload);
        let deadline = Instant::now() + self.settings.publish_deadline;
        let mut pause = FIRST_PAUSE;
        let mut answer_within = FIRST_ANSWER_WITHIN;
        loop {
            let once = async {
                self.context
                    .publish_with_headers(subject.clone(), headers.clone(), payload.clone())
                    .await?
                    .await
            };
            // A leader that loses its office acknowledges no more of what it took.
            let tried_until = deadline.min(Instant::now() + answer_within);
            answer_within *= 2;
            let error = match timeout_at(tried_until, once).await {
                Ok(Ok(ack)) => {
                    if !ack.duplicate {
                        self.usage.note(&subject, signed(payload.len()));
                    }
                    return Ok(ack);
                }
                Ok(Err(error)) if error.kind() == PublishErrorKind::MaxPayloadExceeded => {
                    return Err(Error::TooLarge);
                }
                Ok(Err(error)) if error.kind() == PublishErrorKind::WrongLastSequence => {
                    return Err(Error::Exists);
                }
                Ok(Err(error)) => error,
                Err(_) if Instant::now() >= deadline => {
                    return Err(Error::Unacknowledged("deadline passed".to_owned()));
                }
                Err(_) => continue,
            };
            let no_room = Error::no_room(&error);
            let is_final = no_room.is_some() && !drains_soon(&subject);
            if is_final || Instant::now() + pause >= deadline {
                return Err(no_room.unwrap_or_else(|| Error::Unacknowledged(error.to_string())));
            }
            // No responders and a full stream are answered at once: without a pause this would be a
            // storm.
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether this is a subject of WA_RETRY.
fn is_retry(subject: &str) -> bool {
    subject.starts_with("wa.park.") || subject.starts_with("wa.retry.")
}

/// Whether a full stream is worth waiting for. Held messages and dead letters go only when
/// somebody resumes a webhook, or by age.
fn drains_soon(subject: &str) -> bool {
    !subject.starts_with("wa.hold.") && !subject.starts_with("wa.dlq.")
}

/// The same letter, small: its reason says that the body is missing.
fn without_body(letter: &DeadLetter) -> DeadLetter {
    let mut cut = letter.clone();
    cut.delivery.body = Bytes::new();
    cut.reason.push_str(BODY_CUT);
    cut
}

fn with_id(id: String) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_MESSAGE_ID, id.as_str());
    headers
}
