//! One message of a consumer, and how it is settled.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{
    header,
    jetstream::{self, AckKind},
};
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::{
    Error, StoredAs,
    chat::FROM_CHAT_QUEUE,
    give_back::{NAK_PAUSE, Nak, confirm_nak},
    in_hand::{Held, InHand},
    usage::{UsageCounts, signed},
};
use crate::model::Timestamp;

/// Clocks differ a little, and what is decided takes its way.
const ACK_MARGIN: Duration = Duration::from_secs(5);

/// How long the server may take to say that it keeps a message.
const KEPT_WITHIN: Duration = Duration::from_secs(2);
/// Most elections are over by then.
const NAK_REPEATED_FOR: Duration = Duration::from_secs(8);

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
    usage: Arc<UsageCounts>,
    received_at: Instant,
    held: Held,
    /// When the stream stored it.
    pub published_at: Timestamp,
    /// How many times it was delivered, this time included.
    pub deliveries: i64,
    /// Its number in its stream.
    pub sequence: u64,
}

impl Incoming {
    pub(super) fn new(
        message: jetstream::Message,
        usage: &Arc<UsageCounts>,
        in_hand: &Arc<InHand>,
    ) -> Result<Self, Error> {
        let info = message.info()?;
        let published_at = info.published.into();
        let deliveries = info.delivered;
        let sequence = info.stream_sequence;
        Ok(Self {
            payload: message.payload.clone(),
            usage: Arc::clone(usage),
            held: in_hand.hold(StoredAs {
                at: published_at,
                sequence,
            }),
            received_at: Instant::now(),
            published_at,
            deliveries,
            sequence,
            message: Box::new(message),
        })
    }

    pub(super) fn into_message(self) -> jetstream::Message {
        *self.message
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

    /// Whether a chat queue dispatched it, see [`super::Bus::dispatch_head`].
    pub fn is_from_chat_queue(&self) -> bool {
        self.message
            .headers
            .as_ref()
            .is_some_and(|headers| headers.get(FROM_CHAT_QUEUE).is_some())
    }

    /// Which message of its stream it is.
    pub fn stored_as(&self) -> StoredAs {
        StoredAs {
            at: self.published_at,
            sequence: self.sequence,
        }
    }

    /// The id under which it was published, if it had one.
    pub fn dedupe_id(&self) -> Option<&str> {
        let headers = self.message.headers.as_ref()?;
        Some(headers.get(header::NATS_MESSAGE_ID)?.as_str())
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
        self.message.ack().await.map_err(Error::from)?;
        self.removed();
        self.held.acknowledged();
        Ok(())
    }

    /// It is gone from its stream.
    fn removed(&self) {
        self.usage.note(self.subject(), -signed(self.payload.len()));
    }

    /// Not done yet: the server keeps it for this node for `ack_wait` from now on. Whether the
    /// server has confirmed it; the message must be this node's, see [`Self::is_ours`].
    pub async fn keep(&self) -> bool {
        let Some(reply) = self.message.reply.clone() else {
            return false;
        };
        let asking = self.message.context.client();
        let kept = asking.request(reply, AckKind::Progress.into());
        timeout(KEPT_WITHIN, kept)
            .await
            .is_ok_and(|kept| kept.is_ok())
    }

    /// Not done: hand it out again after this time. Returns once the server has confirmed it, or
    /// does not: then it comes again after `ack_wait`.
    pub async fn nak(self, after: Option<Duration>) {
        self.held.paused(after);
        if confirm_nak(&self.message, after).await != Nak::Unheard {
            return;
        }
        let repeated = async {
            while confirm_nak(&self.message, after).await == Nak::Unheard {
                sleep(NAK_PAUSE).await;
            }
        };
        if timeout(NAK_REPEATED_FOR, repeated).await.is_err() {
            tracing::debug!("a message could not be given back; it comes again by itself");
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
        } else {
            self.removed();
        }
    }
}
