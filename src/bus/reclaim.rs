//! Messages that the server has handed out and nobody has.
//!
//! The server counts a message as handed out before it sends it. When its leader dies between the
//! two, or the connection breaks, the message reaches nobody and comes again only after `ack_wait`,
//! behind others of its chat. An acknowledgement may be lost in the same way. A node notices both:
//! the consumer numbers what it hands out, so a number is missing; and whenever a node opens its
//! feed again, it compares what the server waits for with what it [has in hand](super::in_hand).
//! What nobody has is given back, so that it comes at once and before new messages, and what was
//! acknowledged is acknowledged again.
//!
//! A node judges only what was first handed out while it was the one that is fed. What is older may
//! still be worked on by the node before it.

use std::time::{Duration, Instant};

use async_nats::jetstream;
use bytes::Bytes;
use serde::Deserialize;
use tokio::time::timeout;

use super::{
    Bus, Error, StoredAs, Stream, Work,
    give_back::nak_in_order,
    in_hand::{InHand, Known},
    patience::soon,
};
use crate::wire::subject;

/// How long one try may take: meanwhile the partition rests.
const DEADLINE: Duration = Duration::from_secs(5);
/// For how long it is tried again. An election is over by then.
const PATIENCE: Duration = Duration::from_secs(20);
/// Parts of the subject of an acknowledgement, without and with the domain and the account.
const PARTS: usize = 9;
const PARTS_WITH_DOMAIN: usize = 11;

/// What a node has seen of one consumer.
#[derive(Default)]
pub(super) struct Seen {
    /// The first new message.
    first: Option<u64>,
    /// The consumer's number of the last message.
    last: Option<u64>,
    /// Where the last one was to be acknowledged.
    reply: Option<String>,
    /// Others may have been fed since the last message.
    pub(super) was_silent: bool,
    /// The term of this node's membership in which it saw this.
    term: Option<u64>,
    /// Since when nobody tells what was handed out.
    failing_since: Option<Instant>,
}

/// Whether a message follows the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    Yes,
    /// One between them was handed out and did not come.
    No,
}

#[derive(Deserialize)]
struct ConsumerInfo {
    delivered: Delivered,
    num_ack_pending: u64,
}

#[derive(Deserialize)]
struct Delivered {
    consumer_seq: u64,
    stream_seq: u64,
}

impl Seen {
    /// Notes a message.
    pub(super) fn note(&mut self, message: &jetstream::Message) -> Follows {
        let Ok(info) = message.info() else {
            return Follows::Yes;
        };
        if info.delivered == 1 {
            // Lower when the stream was made again.
            let first = self.first.unwrap_or(info.stream_sequence);
            self.first = Some(first.min(info.stream_sequence));
        }
        self.reply = message.reply.as_ref().map(ToString::to_string);
        let last = self.last.replace(info.consumer_sequence);
        if last.is_some_and(|last| info.consumer_sequence > last + 1) {
            Follows::No
        } else {
            Follows::Yes
        }
    }

    /// Forgets all: another node may have been fed meanwhile.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether this node was silent for so long since that another may have been fed.
    pub(super) fn is_of_term(&self, term: u64) -> bool {
        self.term.is_none_or(|known| known == term)
    }

    /// Forgets what is of another term.
    pub(super) fn check_term(&mut self, term: u64) {
        if !self.is_of_term(term) {
            self.forget();
        }
        self.term = Some(term);
    }
}

impl Bus {
    /// Gives back what a consumer has handed out to nobody, and acknowledges again what was
    /// acknowledged.
    ///
    /// # Errors
    /// When the server does not answer, and it is to be done again: new messages must wait. When
    /// this goes on for [`PATIENCE`] they wait no longer, and what never came comes after
    /// `ack_wait`.
    pub(super) async fn reclaim(
        &self,
        work: Work,
        partition: u16,
        seen: &mut Seen,
        in_hand: &InHand,
    ) -> Result<(), Error> {
        let reclaimed = self.reclaim_now(work, partition, seen, in_hand);
        let reclaimed = timeout(DEADLINE, reclaimed).await;
        let work = work.as_str();
        let error = match reclaimed.unwrap_or(Err(Error::Timeout("list of what was handed out"))) {
            Ok(count) => {
                seen.failing_since = None;
                if count > 0 {
                    tracing::info!(work, partition, count, "gave back messages that never came");
                }
                return Ok(());
            }
            Err(error) => error,
        };
        let since = *seen.failing_since.get_or_insert_with(Instant::now);
        if since.elapsed() < PATIENCE {
            return Err(error);
        }
        seen.failing_since = None;
        tracing::warn!(work, partition, %error, "messages that never came may be late");
        Ok(())
    }

    /// How many were given back.
    async fn reclaim_now(
        &self,
        work: Work,
        partition: u16,
        seen: &mut Seen,
        in_hand: &InHand,
    ) -> Result<usize, Error> {
        let Some(filter) = filter(work, partition) else {
            return Ok(0);
        };
        let Some(first) = seen.first else {
            return Ok(0);
        };
        let Some(reply) = seen.reply.clone() else {
            return Ok(0);
        };
        let (stream, consumer) = work.consumer(partition);
        let info = self.consumer_info(stream, &consumer).await?;
        let last = info.delivered.consumer_seq;
        if seen.was_silent && seen.last != Some(last) {
            seen.forget();
            return Ok(0);
        }
        seen.was_silent = false;
        seen.last = Some(last);
        // The server waits for all that are in hand.
        if info.num_ack_pending <= in_hand.count() {
            return Ok(0);
        }
        let mut lost = Vec::new();
        let mut from = first;
        while from <= info.delivered.stream_seq
            && let Some(message) = self.oldest(stream, &filter, from).await?
            && message.sequence <= info.delivered.stream_seq
        {
            from = message.sequence + 1;
            let stored_as = StoredAs {
                at: message.time.into(),
                sequence: message.sequence,
            };
            let reply = settling(&reply, message.sequence, last);
            match in_hand.known(stored_as) {
                Known::Held => {}
                Known::Acknowledged => self.client.publish(reply, "+ACK".into()).await?,
                Known::Nothing => lost.push(self.handed_out(reply)),
            }
        }
        let count = lost.len();
        if nak_in_order(lost).await {
            Ok(count)
        } else {
            Err(Error::Timeout("word on what is given back"))
        }
    }

    async fn consumer_info(&self, stream: Stream, consumer: &str) -> Result<ConsumerInfo, Error> {
        let subject = &format!("CONSUMER.INFO.{stream}.{consumer}");
        let info = soon(|| self.api_info(subject)).await?;
        serde_json::from_value(info.unwrap_or_default()).map_err(Error::from)
    }

    /// A message that never came, as far as it is needed to give it back.
    fn handed_out(&self, reply: String) -> jetstream::Message {
        let message = async_nats::Message {
            subject: "".into(),
            reply: Some(reply.into()),
            payload: Bytes::new(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        jetstream::Message {
            message,
            context: self.context.clone(),
        }
    }
}

/// What is under a partition's consumer. Others than these may not read their streams, or need no
/// order.
fn filter(work: Work, partition: u16) -> Option<String> {
    match work {
        Work::Message => Some(subject::messages_in(partition)),
        Work::Retry => Some(subject::retries_in(partition)),
        Work::Result | Work::Advisory => None,
    }
}

/// Where another message of the same consumer is settled: the server looks at its number in the
/// stream, and takes each number of the consumer up to the last.
fn settling(reply: &str, sequence: u64, consumer_sequence: u64) -> String {
    let mut parts: Vec<&str> = reply.split('.').collect();
    let first = if parts.len() == PARTS { 5 } else { 7 };
    let numbers = [sequence.to_string(), consumer_sequence.to_string()];
    if parts.len() == PARTS || parts.len() >= PARTS_WITH_DOMAIN {
        parts[first] = &numbers[0];
        parts[first + 1] = &numbers[1];
    }
    parts.join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_message_is_settled_where_the_server_looks() {
        for (reply, other) in [
            (
                "$JS.ACK.WA_MSG.deliver-01.1.20.30.1700000000000000000.4",
                "$JS.ACK.WA_MSG.deliver-01.1.21.33.1700000000000000000.4",
            ),
            (
                "$JS.ACK.hub.HASH.WA_MSG.deliver-01.1.20.30.1700000000000000000.4",
                "$JS.ACK.hub.HASH.WA_MSG.deliver-01.1.21.33.1700000000000000000.4",
            ),
            (
                "$JS.ACK._.HASH.WA_MSG.deliver-01.1.20.30.1700000000000000000.4.x7",
                "$JS.ACK._.HASH.WA_MSG.deliver-01.1.21.33.1700000000000000000.4.x7",
            ),
        ] {
            assert_eq!(settling(reply, 21, 33), other);
        }
    }
}
