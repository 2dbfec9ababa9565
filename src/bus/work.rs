//! The kinds of work that consumers bring.

use super::Stream;

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

    /// Whether it is to be delivered to endpoints.
    pub(super) fn is_delivered(self) -> bool {
        matches!(self, Self::Message | Self::Retry)
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
