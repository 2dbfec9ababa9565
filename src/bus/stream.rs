//! The streams of messages and their names.

use std::fmt;

use async_nats::jetstream::{
    self, ErrorCode,
    stream::{RawMessageError, RawMessageErrorKind},
};

use super::{Bus, Error};

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
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
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
