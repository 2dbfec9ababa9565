//! The messages of a pinned consumer.
//!
//! async-nats has a stream for this. But what the server sends while that is dropped comes again
//! only after `ack_wait`. Unsubscribing first does not help, since the server may be about to send
//! then. This feed ends once the server has ended every open request.
//!
//! A feed ends in three steps: the open requests end, the messages that were not started are given
//! back, the pin is given up. If the pin went first, the next node would get later messages before
//! those that are given back. The next node sorts them: while it waits for the pin, the server
//! moves a message that is given back to the end of those to be redelivered each time it finds no
//! node to send it to.

use std::time::Duration;

use async_nats::{
    HeaderValue, Message, StatusCode, Subscriber,
    connection::State,
    header,
    jetstream::{self, consumer::pull::BatchConfig},
};
use futures_util::{FutureExt, StreamExt};
use serde::Serialize;
use tokio::{sync::watch, time::timeout};

use super::{Bus, Error, Stream};
use crate::wire::MESSAGE_BYTES_MAX;

/// The one priority group of every consumer: its pinned member alone gets messages.
const GROUP: &str = "g";
/// Messages asked for at once; up to half as many again wait here unstarted.
const BATCH: usize = 64;
/// What a message has beside its payload: subjects and the server's headers.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long the server keeps a request open, and a feed at most takes to end.
const EXPIRES: Duration = Duration::from_secs(1);
/// Between two requests for nothing. The server keeps a pin for five seconds.
pub(super) const KEEP_PIN_INTERVAL: Duration = Duration::from_secs(1);
/// The server ends every request, so that longer silence means trouble. A feed that is opened again
/// for nothing costs little.
const SILENCE: Duration = Duration::from_secs(3);
/// What comes later than this to a feed that ends comes to nobody.
const DRAIN_SILENCE: Duration = Duration::from_secs(5);
const NO_RESPONDERS: StatusCode = StatusCode::NO_RESPONDERS;

#[derive(Serialize)]
struct Request<'a> {
    #[serde(flatten)]
    batch: BatchConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

/// What a feed brings.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are messages: a box would cost each an allocation"
)]
pub(super) enum Fed {
    /// A message of the stream.
    Message(jetstream::Message),
    /// The server had nothing for this node when it answered a probe, see [`Feed::probe`].
    Nothing,
    /// There is a new connection: requests do not outlive theirs.
    Reconnected,
}

impl Fed {
    pub(super) fn into_message(self) -> Option<jetstream::Message> {
        match self {
            Self::Message(message) => Some(message),
            Self::Nothing | Self::Reconnected => None,
        }
    }
}

/// An open feed of one consumer.
pub(super) struct Feed {
    bus: Bus,
    /// Where requests go.
    next: String,
    inbox: String,
    subscriber: Subscriber,
    connections: watch::Receiver<u64>,
    /// The number of the connection that it is for.
    connection: u64,
    /// The server's name for this node, once it is pinned.
    pin: Option<String>,
    /// Messages asked for that did not come yet.
    asked: usize,
    /// Whether the answer of a probe is still to come.
    is_probing: bool,
}

impl Feed {
    /// `pin`: of the feed before, which may still hold.
    pub(super) async fn open(
        bus: &Bus,
        stream: Stream,
        consumer: &str,
        pin: Option<String>,
    ) -> Result<Self, Error> {
        let inbox = bus.client.new_inbox();
        let subscriber = bus.client.subscribe(inbox.clone()).await?;
        let next = bus.api_subject(format_args!("CONSUMER.MSG.NEXT.{stream}.{consumer}"));
        let connections = bus.connections.subscribe();
        // The client may report its first connection late.
        let connection = (*connections.borrow()).max(1);
        let bus = bus.clone();
        Ok(Self {
            bus,
            next,
            inbox,
            subscriber,
            connections,
            connection,
            pin,
            asked: 0,
            is_probing: false,
        })
    }

    /// What comes next. Nothing is lost when this is dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Fed, Error> {
        loop {
            // Before asking: what is asked for on a new connection would come to a feed that is
            // about to end.
            if *self.connections.borrow() > self.connection {
                return Ok(Fed::Reconnected);
            }
            if self.asked <= BATCH / 2 {
                self.ask().await?;
            }
            let came = tokio::select! {
                biased;
                came = timeout(SILENCE, self.subscriber.next()) => came,
                _ = self.connections.changed() => continue,
            };
            let came = came.map_err(|_| Error::Timeout("messages of a consumer"))?;
            let message = came.ok_or_else(|| Error::Closed("the connection"))?;
            if let Some(fed) = self.take(message)? {
                return Ok(fed);
            }
        }
    }

    /// A message that has arrived already.
    pub(super) fn ready(&mut self) -> Option<jetstream::Message> {
        loop {
            let message = self.subscriber.next().now_or_never()??;
            // What else it is shows again at the next wait: requests end, and silence is noticed.
            if let Ok(Some(Fed::Message(message))) = self.take(message) {
                return Some(message);
            }
        }
    }

    /// Asks for no more, and collects what the server sends until it has ended every open request.
    /// No shorter time would do: on a busy machine a message can take long to come. This node keeps
    /// its pin, so no other node is fed meanwhile.
    /// What came is in `unstarted` also when this is dropped.
    pub(super) async fn drain(&mut self, unstarted: &mut Vec<jetstream::Message>) {
        while self.asked > 0 {
            let is_lost = *self.connections.borrow() > self.connection
                || self.bus.client.connection_state() != State::Connected;
            if is_lost {
                break;
            }
            let came = tokio::select! {
                biased;
                came = timeout(DRAIN_SILENCE, self.subscriber.next()) => came,
                _ = self.connections.changed() => continue,
            };
            let Ok(Some(message)) = came else { break };
            match self.take(message) {
                Ok(Some(Fed::Message(message))) => unstarted.push(message),
                Ok(_) => {}
                // The request has ended.
                Err(_) => break,
            }
        }
    }

    /// Ends the feed, and with it this node's pin: another node is fed from now on. Should this
    /// fail, the pin runs out by itself.
    pub(super) async fn end(self, stream: Stream, consumer: &str) {
        // Without a pin of its own it would take another node's.
        if self.pin.is_none() {
            return;
        }
        let body = serde_json::json!({"group": GROUP});
        let subject = format!("CONSUMER.UNPIN.{stream}.{consumer}");
        let _ = self
            .bus
            .context
            .request::<_, _, serde_json::Value>(subject, &body)
            .await;
    }

    /// The server's name for this node, for the next feed.
    pub(super) fn into_pin(self) -> Option<String> {
        self.pin
    }

    /// Keeps the pin of a feed that asks for nothing more: without requests the server would give
    /// it to another node. No message is as small as what is asked for, so none comes.
    pub(super) async fn keep_pin(&self) {
        if self.pin.is_none() {
            return;
        }
        let nothing = BatchConfig {
            batch: 1,
            no_wait: true,
            max_bytes: 1,
            ..BatchConfig::default()
        };
        // Without a connection there is no pin either.
        let _ = self.request(nothing).await;
    }

    /// Asks whether the server has something for this node. The answer is a message, or
    /// [`Fed::Nothing`] after all messages that were there.
    pub(super) async fn probe(&mut self) -> Result<(), Error> {
        self.is_probing = true;
        self.request(BatchConfig {
            batch: 1,
            no_wait: true,
            max_bytes: self.bytes_max(),
            ..BatchConfig::default()
        })
        .await?;
        self.asked += 1;
        Ok(())
    }

    /// Whether the answer of a probe is still to come.
    pub(super) fn is_probing(&self) -> bool {
        self.is_probing
    }

    async fn ask(&mut self) -> Result<(), Error> {
        self.request(BatchConfig {
            batch: BATCH - self.asked,
            expires: Some(EXPIRES),
            max_bytes: self.bytes_max(),
            ..BatchConfig::default()
        })
        .await?;
        self.asked = BATCH;
        Ok(())
    }

    /// One message of the largest size always fits, and large ones do not come by the dozen. Not
    /// the server's `max_payload` alone: it may have been larger when a message was stored.
    fn bytes_max(&self) -> usize {
        let payload_max = self.bus.client.server_info().max_payload;
        payload_max.max(MESSAGE_BYTES_MAX) + HEAD_BYTES_MAX
    }

    async fn request(&self, config: BatchConfig) -> Result<(), Error> {
        // The client would send it later, when nobody may listen any more: what it brings comes
        // again only after `ack_wait`.
        if self.bus.client.connection_state() != State::Connected {
            return Err(Error::Closed("the connection"));
        }
        let config = BatchConfig {
            group: Some(GROUP.to_owned()),
            ..config
        };
        let request = Request {
            batch: config,
            id: self.pin.as_deref(),
        };
        let bytes = serde_json::to_vec(&request)?.into();
        let asking =
            self.bus
                .client
                .publish_with_reply(self.next.clone(), self.inbox.clone(), bytes);
        asking.await?;
        Ok(())
    }

    /// The message, if it is one of the stream's; else what the server says of a request.
    fn take(&mut self, message: Message) -> Result<Option<Fed>, Error> {
        let header = |name| {
            message
                .headers
                .as_ref()
                .and_then(|headers| headers.get_last(name))
        };
        match message.status.unwrap_or(StatusCode::OK) {
            StatusCode::OK => {
                // Publishers can set headers too: the server's own comes last.
                if let Some(pin) = header(header::NATS_PIN_ID).map(HeaderValue::as_str)
                    && self.pin.as_deref() != Some(pin)
                {
                    self.pin = Some(pin.to_owned());
                }
                self.asked = self.asked.saturating_sub(1);
                // It may be the answer of the probe.
                self.is_probing = false;
                Ok(Some(Fed::Message(jetstream::Message {
                    message,
                    context: self.bus.context.clone(),
                })))
            }
            StatusCode::NOT_FOUND => {
                self.asked = self.asked.saturating_sub(1);
                self.is_probing = false;
                Ok(Some(Fed::Nothing))
            }
            StatusCode::IDLE_HEARTBEAT => Ok(None),
            status @ (StatusCode::TIMEOUT
            | StatusCode::REQUEST_TERMINATED
            | StatusCode::PIN_ID_MISMATCH) => {
                if status == StatusCode::PIN_ID_MISMATCH {
                    self.pin = None;
                }
                self.is_probing = false;
                match message.description.as_deref() {
                    Some(text) if text.starts_with("Exceeded") || text.starts_with("Consumer") => {
                        return Err(Error::Refused(text.to_owned()));
                    }
                    _ => {}
                }
                self.asked = self.asked.saturating_sub(unsent(&message));
                Ok(None)
            }
            NO_RESPONDERS => Err(Error::Refused(
                "no such consumer, or no JetStream".to_owned(),
            )),
            status => Err(Error::Refused(format!(
                "{status} {}",
                message.description.as_deref().unwrap_or_default()
            ))),
        }
    }
}

/// How many messages a request that has ended did not bring.
fn unsent(ended: &Message) -> usize {
    ended
        .headers
        .as_ref()
        .and_then(|headers| headers.get("Nats-Pending-Messages"))
        .and_then(|count| count.as_str().parse().ok())
        .unwrap_or(BATCH)
}
