//! The streams of messages and their names.

use std::{fmt, time::Duration};

use async_nats::jetstream::{
    self, ErrorCode,
    consumer::{AckPolicy, pull},
    stream::{RawMessageError, RawMessageErrorKind},
};
use futures_util::future::try_join_all;
use serde_json::json;

use super::{Bus, Error, patience::soon};
use crate::model::Timestamp;

/// Messages that are deleted at once.
const DELETES_AT_ONCE: usize = 128;

/// A stream as `nats/streams/` declares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    /// New messages.
    Messages,
    /// Parked and due retries.
    Retries,
    /// Deliveries that wait for their webhook.
    Held,
    /// Deliveries that wait for the one before them in their chat.
    ChatQueues,
    /// Groups of results for the store.
    Results,
    /// Deliveries that were given up, and bytes that nobody can read.
    DeadLetters,
    /// What the server says of messages that reached `max_deliver`.
    Advisories,
    /// Logs of the keys of WhatsApp sessions.
    SessionKeys,
}

impl Stream {
    /// Its name on the server.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Messages => "WA_MSG",
            Self::Retries => "WA_RETRY",
            Self::Held => "WA_HOLD",
            Self::ChatQueues => "WA_CHAT",
            Self::Results => "WA_RESULT",
            Self::DeadLetters => "WA_DLQ",
            Self::Advisories => "WA_ADV",
            Self::SessionKeys => "WA_KEYS",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A consumer that reads what lies under a filter, from its beginning, and settles nothing. The
/// server keeps it for so long after the last read; its position need not survive.
pub(super) fn reader(filter: String, kept_for: Duration) -> pull::Config {
    pull::Config {
        filter_subject: filter,
        ack_policy: AckPolicy::None,
        inactive_threshold: kept_for,
        memory_storage: true,
        num_replicas: 1,
        ..pull::Config::default()
    }
}

/// One message of a stream. Its number alone would not do: a stream that is deleted and made again
/// numbers from 1 again, and whatever was remembered of the first would be taken for the second's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct StoredAs {
    /// When the stream stored it.
    pub at: Timestamp,
    /// Its number in the stream.
    pub sequence: u64,
}

/// A part of ids for deduplication.
impl fmt::Display for StoredAs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.at.millis(), self.sequence)
    }
}

impl Bus {
    /// A handle of a stream, without asking the server for it.
    pub(super) async fn stream(
        &self,
        stream: Stream,
    ) -> Result<jetstream::stream::Stream<()>, Error> {
        Ok(self.context.get_stream_no_info(stream.as_str()).await?)
    }

    /// Deletes a message; `false`: it is gone already.
    ///
    /// Without [`delete_message`](async_nats::jetstream::stream::Stream::delete_message): it makes
    /// the server overwrite the bytes on its disk. No other stream does so with settled messages.
    pub(super) async fn delete(&self, stream: Stream, sequence: u64) -> Result<bool, Error> {
        let request = json!({"seq": sequence, "no_erase": true});
        let subject = format!("STREAM.MSG.DELETE.{stream}");
        let deleted = soon(|| self.command(subject.clone(), &request)).await;
        let Err(refused) = deleted else {
            return Ok(true);
        };
        let handle = self.stream(stream).await?;
        match handle.get_raw_message(sequence).await {
            Err(error) if is_missing(&error) => Ok(false),
            _ => Err(refused),
        }
    }

    /// Deletes messages, many at a time; those that are gone already do no harm.
    ///
    /// Not by purging the stream, which is quicker for many: the server's permissions know no
    /// filter, so a role that may purge some may purge all.
    pub(super) async fn delete_all(
        &self,
        stream: Stream,
        sequences: Vec<u64>,
    ) -> Result<(), Error> {
        for some in sequences.chunks(DELETES_AT_ONCE) {
            try_join_all(some.iter().map(|sequence| self.delete(stream, *sequence))).await?;
        }
        Ok(())
    }
}

/// Whether the server's answer is that the stream has no such message.
pub(super) fn is_missing(error: &RawMessageError) -> bool {
    match error.kind() {
        RawMessageErrorKind::NoMessageFound => true,
        RawMessageErrorKind::JetStream(refused) => {
            refused.error_code() == ErrorCode::NO_MESSAGE_FOUND
        }
        _ => false,
    }
}
