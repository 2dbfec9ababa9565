//! Pulling work and settling it.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, AckKind};
use bytes::Bytes;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Bus, Error, Stream, chat::FROM_CHAT_QUEUE, feed::Feed};
use crate::{model::Timestamp, telemetry};

/// Clocks differ a little, and what is decided takes its way.
const ACK_MARGIN: Duration = Duration::from_secs(5);
const NAK_DEADLINE: Duration = Duration::from_secs(2);
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
    /// Advisories on messages that reached `max_deliver`, for `deliver`. It has one partition.
    Advisory,
}

impl Work {
    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        self.names().1
    }

    /// The stream that it comes from.
    pub fn stream(self) -> Stream {
        self.names().0
    }

    /// The stream, and the durable consumer of a partition.
    pub(super) fn consumer(self, partition: u16) -> (Stream, String) {
        let (stream, kind) = self.names();
        let is_one = self == Self::Advisory;
        (
            stream,
            if is_one {
                kind.to_owned()
            } else {
                format!("{kind}-{partition:02}")
            },
        )
    }

    fn names(self) -> (Stream, &'static str) {
        match self {
            Self::Message => (Stream::Messages, "deliver"),
            Self::Retry => (Stream::Retries, "retry"),
            Self::Result => (Stream::Results, "record"),
            Self::Advisory => (Stream::Advisories, "advisory"),
        }
    }
}

/// One partition's work. It reconnects by itself until cancelled.
pub struct Pull {
    bus: Bus,
    work: Work,
    partition: u16,
    cancel: CancellationToken,
    feed: Option<Feed>,
    opened_at: Instant,
    pause: Duration,
    /// Whether this node is, as far as it knows, the one that the consumer feeds.
    pinned: bool,
    newly_pinned: bool,
}

/// Whether a message was handed out before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redelivery {
    /// It was not.
    First,
    /// It was: the node that had it may have stopped at any point of its work.
    Again,
}

/// One message, to be settled once.
pub struct Incoming {
    /// In a box, since it is large and moved often.
    message: Box<jetstream::Message>,
    payload: Bytes,
    received_at: Instant,
    /// When the stream stored it.
    pub published_at: Timestamp,
    /// How many times it was delivered, this time included.
    pub deliveries: i64,
    /// Its number in its stream.
    pub sequence: u64,
}

impl Bus {
    /// Pulls one kind of work of one partition, until cancelled.
    pub fn pull(&self, work: Work, partition: u16, cancel: CancellationToken) -> Pull {
        Pull {
            bus: self.clone(),
            work,
            partition,
            cancel,
            feed: None,
            opened_at: Instant::now(),
            pause: FIRST_PAUSE,
            pinned: false,
            newly_pinned: false,
        }
    }
}

impl Pull {
    /// The next message; `None` once cancelled. Fetched messages that were not given out go back
    /// to the server then.
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
                Ok(None) => {
                    self.pause = FIRST_PAUSE;
                    self.give_back().await;
                }
                Ok(Some(incoming)) => {
                    self.pause = FIRST_PAUSE;
                    self.newly_pinned |= !self.pinned;
                    self.pinned = true;
                    return Some(incoming);
                }
                Err(error) => {
                    let mut connections = self.bus.connections.subscribe();
                    self.give_back().await;
                    telemetry::error("bus", "pull");
                    let work = self.work.as_str();
                    tracing::warn!(work, partition = self.partition, %error, "pulling again");
                    tokio::select! {
                        () = cancel.cancelled() => {}
                        // A server that is new here may not be ready at once, but it will be soon.
                        _ = connections.changed() => self.pause = FIRST_PAUSE,
                        () = sleep(self.pause) => self.pause = (self.pause * 2).min(LONGEST_PAUSE),
                    }
                }
            }
        }
    }

    /// Whether the consumer has begun to feed this node since this was last asked.
    pub fn newly_pinned(&mut self) -> bool {
        std::mem::take(&mut self.newly_pinned)
    }

    /// A message that has arrived already; never waits.
    pub fn try_next(&mut self) -> Option<Incoming> {
        let message = self.feed.as_mut()?.ready()?;
        Incoming::new(message).ok()
    }

    async fn fetch(&mut self) -> Result<Option<Incoming>, Error> {
        if self.feed.is_none() {
            let (stream, consumer) = self.work.consumer(self.partition);
            self.opened_at = Instant::now();
            self.feed = Some(Feed::open(&self.bus, stream, &consumer).await?);
        }
        let feed = self.feed.as_mut().expect("opened above");
        feed.next().await?.map(Incoming::new).transpose()
    }

    /// Whether some of the fetched messages may have been sent before then.
    pub fn is_older_than(&self, then: Instant) -> bool {
        self.opened_at < then
    }

    /// Gives back the fetched messages that were not started, and opens a new feed.
    pub async fn give_back(&mut self) {
        self.pinned = false;
        let Some(mut feed) = self.feed.take() else {
            return;
        };
        let unstarted = std::iter::from_fn(|| feed.ready()).collect();
        nak_all(unstarted).await;
    }

    /// Drops the fetched messages, unsettled.
    pub fn forget(&mut self) {
        self.feed = None;
        self.pinned = false;
    }

    /// Gives back the pin and the fetched messages that were not started, so that another node goes
    /// on at once.
    pub async fn release(&mut self) {
        let Some(feed) = self.feed.take() else { return };
        let (stream, consumer) = self.work.consumer(self.partition);
        let unstarted = feed.end(stream, &consumer).await;
        self.pinned = false;
        nak_all(unstarted).await;
    }
}

/// A lost NAK costs a wait, no message: without a connection the client's queue may be full, so
/// this has an end.
async fn nak_all(messages: Vec<jetstream::Message>) {
    let all = async {
        for message in messages {
            let _ = message.ack_with(AckKind::Nak(None)).await;
        }
    };
    let _ = timeout(NAK_DEADLINE, all).await;
}

impl Incoming {
    fn new(message: jetstream::Message) -> Result<Self, Error> {
        let info = message.info()?;
        let published_at = Timestamp::from_millis(
            i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or_default(),
        );
        let deliveries = info.delivered;
        let sequence = info.stream_sequence;
        Ok(Self {
            payload: message.payload.clone(),
            received_at: Instant::now(),
            published_at,
            deliveries,
            sequence,
            message: Box::new(message),
        })
    }

    /// Whether it was handed out before.
    pub fn redelivery(&self) -> Redelivery {
        if self.deliveries > 1 {
            Redelivery::Again
        } else {
            Redelivery::First
        }
    }

    /// Whether it came less long ago than this, and a margin: the server keeps it for this node
    /// alone, unless it is settled, for `ack_wait`.
    pub fn is_ours(&self, time: Duration) -> bool {
        self.received_at.elapsed() + ACK_MARGIN < time
    }

    /// Whether a chat queue dispatched it, see [`Bus::dispatch_head`].
    pub fn is_from_chat_queue(&self) -> bool {
        self.message
            .headers
            .as_ref()
            .is_some_and(|headers| headers.get(FROM_CHAT_QUEUE).is_some())
    }

    /// The bytes.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Its subject in its stream.
    pub fn subject(&self) -> &str {
        &self.message.subject
    }

    /// Done: never hand it out again.
    ///
    /// # Errors
    /// When it cannot be sent: the message comes again.
    pub async fn ack(self) -> Result<(), Error> {
        self.message.ack().await.map_err(Error::from)
    }

    /// Not done: hand it out again after this time.
    pub async fn nak(self, after: Option<Duration>) {
        if let Err(error) = self.message.ack_with(AckKind::Nak(after)).await {
            tracing::debug!(%error, "a message could not be given back; it comes again by itself");
        }
    }

    /// Never hand it out again, since it can never be done. The reason reaches WA_ADV.
    pub async fn term(self, reason: &'static str) {
        let Some(reply) = self.message.reply.clone() else {
            return;
        };
        // async-nats sends +TERM without a reason.
        if let Err(error) = self
            .message
            .context
            .client()
            .publish(reply, format!("+TERM {reason}").into())
            .await
        {
            tracing::debug!(%error, "a message could not be terminated; it comes again by itself");
        }
    }
}
