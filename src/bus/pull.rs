//! Pulling work and settling it.

use std::time::Duration;

use async_nats::jetstream::{
    self, AckKind,
    consumer::{PullConsumer, pull},
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Bus, Error};
use crate::{model::Timestamp, telemetry};

/// The one priority group of every consumer: its pinned member alone gets messages.
const GROUP: &str = "g";
/// Messages asked for at once; up to half as many again lie here unstarted.
const BATCH: usize = 64;
const EXPIRES: Duration = Duration::from_secs(3);
const HEARTBEAT: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// What kind of work a consumer brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    /// New messages, for `deliver`.
    Message,
    /// Due retries, for `deliver`.
    Retry,
    /// Groups of results, for `record`.
    Result,
    /// The server's word on messages that it hands out no more, for `deliver`. It has one partition.
    Advisory,
}

impl Work {
    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        self.names().1
    }

    /// The stream that it comes from.
    pub fn stream(self) -> &'static str {
        self.names().0
    }

    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Message => ("WA_MSG", "deliver"),
            Self::Retry => ("WA_RETRY", "retry"),
            Self::Result => ("WA_RESULT", "record"),
            Self::Advisory => ("WA_ADV", "advisory"),
        }
    }
}

/// One partition's work. It reconnects by itself until cancelled.
pub struct Pull {
    bus: Bus,
    work: Work,
    partition: u16,
    cancel: CancellationToken,
    stream: Option<pull::Stream>,
    pause: Duration,
    /// Whether this node is, as far as it knows, the one that the consumer feeds.
    pinned: bool,
}

/// One message, to be settled once.
pub struct Incoming {
    message: jetstream::Message,
    payload: Bytes,
    /// When the stream stored it.
    pub published_at: Timestamp,
    /// How many times it was handed out, this time included.
    pub deliveries: i64,
    /// Its number in its stream.
    pub sequence: u64,
}

impl Bus {
    /// Pulls one kind of work of one partition, until cancelled.
    pub fn pull(&self, work: Work, partition: u16, cancel: CancellationToken) -> Pull {
        Pull { bus: self.clone(), work, partition, cancel, stream: None, pause: FIRST_PAUSE, pinned: false }
    }
}

impl Pull {
    /// The next message; `None` once cancelled. What was fetched but not handed out goes back to the server then.
    pub async fn next(&mut self) -> Option<Incoming> {
        let cancel = self.cancel.clone();
        loop {
            let next = tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    self.release().await;
                    return None;
                }
                next = self.fetch() => next,
            };
            match next {
                Ok(Some(incoming)) => {
                    self.pause = FIRST_PAUSE;
                    self.pinned = true;
                    return Some(incoming);
                }
                Ok(None) => self.stream = None,
                Err(error) => {
                    self.stream = None;
                    telemetry::error("bus", "pull");
                    tracing::warn!(work = self.work.as_str(), partition = self.partition, %error, "pulling again");
                    tokio::select! {
                        () = cancel.cancelled() => {}
                        () = sleep(self.pause) => {}
                    }
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// A message that lies here already; never waits.
    pub fn try_next(&mut self) -> Option<Incoming> {
        let message = self.stream.as_mut()?.next().now_or_never()??.ok()?;
        Incoming::new(message).ok()
    }

    async fn fetch(&mut self) -> Result<Option<Incoming>, Error> {
        if self.stream.is_none() {
            self.stream = Some(self.open().await?);
        }
        let stream = self.stream.as_mut().expect("opened above");
        match stream.next().await {
            Some(Ok(message)) => Incoming::new(message).map(Some),
            Some(Err(error)) => Err(Error::api(error)),
            None => Ok(None),
        }
    }

    async fn open(&self) -> Result<pull::Stream, Error> {
        let (stream, consumer) = self.names();
        let consumer: PullConsumer =
            self.bus.context.get_consumer_from_stream(consumer, stream).await.map_err(Error::api)?;
        let messages = consumer
            .stream()
            .max_messages_per_batch(BATCH)
            .expires(EXPIRES)
            .heartbeat(HEARTBEAT)
            .group(GROUP)
            .messages();
        messages.await.map_err(Error::api)
    }

    fn names(&self) -> (&'static str, String) {
        let (stream, kind) = self.work.names();
        let is_one = self.work == Work::Advisory;
        (stream, if is_one { kind.to_owned() } else { format!("{kind}-{:02}", self.partition) })
    }

    /// Gives back the pin and what lies here unstarted, so that another node goes on at once.
    async fn release(&mut self) {
        let Some(mut stream) = self.stream.take() else { return };
        // First the pin, so that nothing more is sent here; only then the messages, or they would come right back.
        self.unpin().await;
        let mut unstarted = Vec::new();
        while let Some(Some(Ok(message))) = stream.next().now_or_never() {
            unstarted.push(message);
        }
        drop(stream);
        for message in unstarted {
            // A lost NAK costs a wait, no message.
            let _ = message.ack_with(AckKind::Nak(None)).await;
        }
        // Looking into the stream may have asked for more and pinned this node anew.
        self.unpin().await;
        self.pinned = false;
    }

    /// Without it the pin runs out by itself. A node that got nothing has no pin, and must not take another's.
    async fn unpin(&self) {
        if self.pinned {
            let (stream, consumer) = self.names();
            let body = serde_json::json!({"group": GROUP});
            let subject = format!("CONSUMER.UNPIN.{stream}.{consumer}");
            let _ = self.bus.context.request::<_, _, serde_json::Value>(subject, &body).await;
        }
    }
}

impl Incoming {
    fn new(message: jetstream::Message) -> Result<Self, Error> {
        let info = message.info().map_err(Error::api)?;
        let published_at = Timestamp::from_millis(
            i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or_default(),
        );
        let (deliveries, sequence) = (info.delivered, info.stream_sequence);
        Ok(Self { payload: message.payload.clone(), published_at, deliveries, sequence, message })
    }

    /// The bytes.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Where it lies in its stream.
    pub fn subject(&self) -> &str {
        &self.message.subject
    }

    /// Done: never hand it out again.
    ///
    /// # Errors
    /// When it cannot be sent: the message comes again.
    pub async fn ack(self) -> Result<(), Error> {
        self.message.ack().await.map_err(Error::api)
    }

    /// Not done: hand it out again after this time.
    pub async fn nak(self, after: Option<Duration>) {
        if let Err(error) = self.message.ack_with(AckKind::Nak(after)).await {
            tracing::debug!(%error, "a message could not be given back; it comes again by itself");
        }
    }

    /// Never hand it out again, since it can never be done. The reason reaches WA_ADV.
    pub async fn term(self, reason: &'static str) {
        let Some(reply) = self.message.reply.clone() else { return };
        // async-nats sends +TERM without a reason.
        if let Err(error) = self.message.context.client().publish(reply, format!("+TERM {reason}").into()).await {
            tracing::debug!(%error, "a message could not be terminated; it comes again by itself");
        }
    }
}
