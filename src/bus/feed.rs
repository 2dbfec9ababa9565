//! The messages of a pinned consumer.
//!
//! async-nats has a stream for this, but none that ends well: what the server sends while it is
//! dropped comes again only after `ack_wait`. Unsubscribing in order does not help, since the
//! server may be on its way to send then. This one ends when the server has said so of every
//! request.

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

/// The one priority group of every consumer: its pinned member alone gets messages.
const GROUP: &str = "g";
/// Messages asked for at once; up to half as many again wait here unstarted.
const BATCH: usize = 64;
/// What a message has beside its payload: subjects and the server's headers.
const HEAD_BYTES_MAX: usize = 64 * 1024;
/// How long the server keeps a request open.
const EXPIRES: Duration = Duration::from_secs(2);
/// The server ends every request, so that longer silence means trouble.
const SILENCE: Duration = Duration::from_secs(5);
const NO_RESPONDERS: StatusCode = StatusCode::NO_RESPONDERS;

#[derive(Serialize)]
struct Request<'a> {
    #[serde(flatten)]
    batch: BatchConfig,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
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
    /// The one that was given up: what came under it and is read later brings it back no more.
    given_up: Option<String>,
    /// Messages asked for that did not come yet.
    asked: usize,
}

impl Feed {
    pub(super) async fn open(bus: &Bus, stream: Stream, consumer: &str) -> Result<Self, Error> {
        let inbox = bus.client.new_inbox();
        let subscriber = bus.client.subscribe(inbox.clone()).await?;
        let next = format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}");
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
            pin: None,
            given_up: None,
            asked: 0,
        })
    }

    /// The next message; `None` when there is a new connection: requests do not outlive theirs.
    /// Nothing is lost when this is dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<Option<jetstream::Message>, Error> {
        loop {
            // Before asking: what is asked for on a new connection would come to a feed that is
            // about to end.
            if *self.connections.borrow() > self.connection {
                return Ok(None);
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
            if let Some(message) = self.take(message)? {
                return Ok(Some(message));
            }
        }
    }

    /// A message that has arrived already.
    pub(super) fn ready(&mut self) -> Option<jetstream::Message> {
        loop {
            let message = self.subscriber.next().now_or_never()??;
            // What else it is shows again at the next wait: requests end, and silence is noticed.
            if let Ok(Some(message)) = self.take(message) {
                return Some(message);
            }
        }
    }

    /// Ends the feed, and with it this node's pin; what the server had sent already.
    pub(super) async fn end(mut self, stream: Stream, consumer: &str) -> Vec<jetstream::Message> {
        let mut left = Vec::new();
        loop {
            if let Some(pin) = self.pin.take() {
                self.given_up = Some(pin);
                // Another is fed from now on: requests that name the old pin are refused.
                self.unpin(stream, consumer).await;
            }
            // A pull request without a pin id can still receive messages until it expires. Either
            // way the server says when it ends.
            self.until_ended(&mut left).await;
            if self.pin.is_none() {
                return left;
            }
        }
    }

    /// Collects until no request is open. No shorter time would do: on a busy machine what the
    /// server has decided to send can take long to come.
    async fn until_ended(&mut self, left: &mut Vec<jetstream::Message>) {
        while self.asked > 0 {
            let Ok(Some(message)) = timeout(SILENCE, self.subscriber.next()).await else {
                return;
            };
            left.extend(self.take(message).ok().flatten());
        }
    }

    /// A node that has no pin must not take another's. Should this fail, the pin runs out by
    /// itself.
    async fn unpin(&self, stream: Stream, consumer: &str) {
        let body = serde_json::json!({"group": GROUP});
        let subject = format!("CONSUMER.UNPIN.{stream}.{consumer}");
        let _ = self
            .bus
            .context
            .request::<_, _, serde_json::Value>(subject, &body)
            .await;
    }

    async fn ask(&mut self) -> Result<(), Error> {
        // The client would send it later, when nobody may listen any more: what it brings comes
        // again only after `ack_wait`.
        if self.bus.client.connection_state() != State::Connected {
            return Err(Error::Closed("the connection"));
        }
        let batch = BATCH - self.asked;
        // One message of the largest size always fits, and large ones do not come by the dozen.
        let max_bytes = self.bus.client.server_info().max_payload + HEAD_BYTES_MAX;
        let config = BatchConfig {
            batch,
            max_bytes,
            expires: Some(EXPIRES),
            group: Some(GROUP.to_owned()),
            ..BatchConfig::default()
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
        self.asked = BATCH;
        Ok(())
    }

    /// The message, if it is one of the stream's; else what the server says of a request.
    fn take(&mut self, message: Message) -> Result<Option<jetstream::Message>, Error> {
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
                    && ![&self.pin, &self.given_up]
                        .map(Option::as_deref)
                        .contains(&Some(pin))
                {
                    self.pin = Some(pin.to_owned());
                }
                self.asked = self.asked.saturating_sub(1);
                Ok(Some(jetstream::Message {
                    message,
                    context: self.bus.context.clone(),
                }))
            }
            StatusCode::IDLE_HEARTBEAT => Ok(None),
            status @ (StatusCode::TIMEOUT
            | StatusCode::REQUEST_TERMINATED
            | StatusCode::PIN_ID_MISMATCH) => {
                if status == StatusCode::PIN_ID_MISMATCH {
                    self.pin = None;
                }
                match message.description.as_deref() {
                    Some(text) if text.starts_with("Exceeded") || text.starts_with("Consumer") => {
                        return Err(Error::Refused(text.to_owned()));
                    }
                    _ => {}
                }
                let unsent = message
                    .headers
                    .as_ref()
                    .and_then(|headers| headers.get("Nats-Pending-Messages"));
                let unsent = unsent
                    .and_then(|count| count.as_str().parse().ok())
                    .unwrap_or(BATCH);
                self.asked = self.asked.saturating_sub(unsent);
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
