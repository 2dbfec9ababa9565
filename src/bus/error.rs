//! What can go wrong with the bus.

use std::fmt;

use async_nats::jetstream::{self, ErrorCode, consumer, context, kv, stream};

use crate::wire::{KeyRecordError, SealError, WebhookCodecError};

/// The server's codes for too little storage.
pub(super) const STORAGE_REFUSALS: [ErrorCode; 4] = [
    ErrorCode::INSUFFICIENT_RESOURCES,
    ErrorCode::ACCOUNT_RESOURCES_EXCEEDED,
    ErrorCode::STORAGE_RESOURCES_EXCEEDED,
    ErrorCode::STREAM_MAX_STREAM_BYTES_EXCEEDED,
];

/// The server's codes while no leader, or too few servers, can answer.
const LEADERLESS: [ErrorCode; 6] = [
    ErrorCode::CLUSTER_INCOMPLETE,
    ErrorCode::CLUSTER_NO_PEERS,
    ErrorCode::CLUSTER_NOT_AVAILABLE,
    ErrorCode::CLUSTER_NOT_LEADER,
    ErrorCode::STREAM_OFFLINE,
    ErrorCode::CONSUMER_OFFLINE,
];
/// In the server's word on servers that are there and are not those asked for.
const OTHER_TAGS: &str = "tags not matched";

/// Why the bus did not do it.
///
/// Each call that asks the server fails when no answer, or no acknowledgement of a publish, came in
/// time. The server may have done it all the same. A publish can be repeated without harm. The
/// "Errors" section of a method names only further causes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection, or none allowed.
    #[error("cannot connect to NATS: {0}")]
    Connect(String),
    /// Too old.
    #[error(
        "nats-server {found} is too old: wahook needs 2.12 or later, which has message schedules"
    )]
    ServerTooOld {
        /// The server's version.
        found: String,
    },
    /// The stream has no room: publishing again later may work.
    #[error("stream full: deliveries are slower than what comes in")]
    Full,
    /// All storage that the server or the account may use is taken.
    #[error(
        "NATS has no storage left: the streams and buckets of wahook reserve what they need, so \
         other streams or files take it. Give the server (`max_file_store`) or the account more, \
         or purge what is not needed"
    )]
    StorageExhausted,
    /// The server or the account has not the storage that the streams and buckets reserve.
    #[error(
        "there is no room for the streams and buckets, which reserve {needed} bytes: {found}. \
         Lower one of the settings below, or give the server (`max_file_store`) or the account \
         more storage. Bytes of one copy: {parts}"
    )]
    NoStorage {
        /// What there is, or what the server says.
        found: String,
        /// Bytes of all copies together.
        needed: u64,
        /// Bytes of each stream, with the setting that decides about it.
        parts: String,
    },
    /// A stream holds more than its new limit.
    #[error(
        "{stream} holds {stored} bytes, more than its limit of {limit}, and what is above would \
         be dropped: raise {key}, or let it be worked off first"
    )]
    LimitTooLow {
        /// The stream.
        stream: String,
        /// Bytes that it holds.
        stored: u64,
        /// Bytes that it may hold.
        limit: u64,
        /// The setting that decides about it.
        key: &'static str,
    },
    /// What was to be published only if nothing had changed.
    #[error("the stream has another message under this subject")]
    Exists,
    /// Larger than the server takes.
    #[error("message larger than the server's max_payload")]
    TooLarge,
    /// No acknowledgement in time.
    #[error("no acknowledgement from the stream in time: {0}")]
    Unacknowledged(String),
    /// A request to JetStream failed.
    #[error("JetStream: {source}")]
    Request {
        /// What follows from it.
        kind: RequestKind,
        /// The client's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// JetStream refused, in these words.
    #[error("JetStream: {0}")]
    Refused(String),
    /// No server can answer for all of them now, in these words.
    #[error("JetStream has no leader now, or too few servers: {0}")]
    Leaderless(String),
    /// What did not come before its deadline.
    #[error("JetStream: no {0} in time")]
    Timeout(&'static str),
    /// The server handed out a message that reached nobody.
    #[error("JetStream: a message was handed out and never came")]
    NeverCame,
    /// What ended.
    #[error("JetStream: {0} ended")]
    Closed(&'static str),
    /// What is stored under this name is not what was written.
    #[error("what is stored as {0} is damaged")]
    Damaged(String),
    /// The streams have another number of partitions, and it cannot be changed now.
    #[error(
        "the streams have {found} partitions and bus.partitions is {wanted}, which is changed \
         only while no node runs and \
         nothing waits: {why}. Set bus.partitions = {found}; or let the nodes work off what \
         waits, end them all, and run \
         `wahook bus apply` again"
    )]
    Partitions {
        /// As they are.
        found: u16,
        /// As they should be.
        wanted: u16,
        /// What stands against it.
        why: String,
    },
    /// Others changed the same key again and again.
    #[error("the key was changed by others at the same time, several times in a row")]
    Contended,
    /// The webhooks were asked for before there were keys to open their secrets with.
    #[error("no keys are loaded that open secrets")]
    NoKeys,
    /// A secret that this node's keys do not open.
    #[error("the secret of {of} does not open: {source}")]
    Sealed {
        /// What it belongs to.
        of: String,
        /// Why.
        source: SealError,
    },
    /// A later owner writes to the log of a session's keys.
    #[error("another node has taken this session over")]
    TakenOver,
    /// A log of keys that cannot be read to its end.
    #[error("the keys of a session do not open, at message {sequence} of WA_KEYS: {source}")]
    SessionKeys {
        /// The number of the record in the stream.
        sequence: u64,
        /// Why.
        source: KeyRecordError,
    },
    /// The log of a session's keys has lost its last records, or is from a backup.
    #[error(
        "the stored keys of a session are older than those that it used last: record {found}, and \
         it had {known}. Were they used, its contacts could no longer read what it sends"
    )]
    KeysRolledBack {
        /// The number of the last record there is.
        found: u64,
        /// The number of the last one that the session is known to have written.
        known: u64,
    },
    /// A stored value that this version cannot read.
    #[error("cannot read what is stored in {bucket}: {source}")]
    Stored {
        /// The bucket.
        bucket: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

impl Error {
    pub(super) fn stored_webhook(error: WebhookCodecError) -> Self {
        match error {
            WebhookCodecError::Json(source) => Self::Stored {
                bucket: "wa_webhooks",
                source,
            },
            WebhookCodecError::Sealed(source) => Self::Sealed {
                of: "a webhook".to_owned(),
                source,
            },
        }
    }

    /// What the API's refusal of a request means.
    pub(super) fn refused(subject: &str, error: &serde_json::Value) -> Self {
        let text = error["description"].as_str().unwrap_or_default();
        let told = format!("{subject}: {text}");
        let code = ErrorCode(error["err_code"].as_u64().unwrap_or(0));
        if LEADERLESS.contains(&code) && !text.contains(OTHER_TAGS) {
            return Self::Leaderless(told);
        }
        Self::Refused(told)
    }

    /// What an error of the client's says about room, if that is what it is about. The server's
    /// word is the cause of the cause of some.
    pub(super) fn no_room(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let chain = std::iter::successors(Some(error), |error| error.source());
        let refused = chain.filter_map(|error| {
            let boxed = error.downcast_ref::<Box<jetstream::Error>>();
            boxed.map(Box::as_ref).or_else(|| error.downcast_ref())
        });
        refused
            .map(jetstream::Error::error_code)
            .find_map(|code| match code {
                ErrorCode::STREAM_STORE_FAILED => Some(Self::Full),
                code if STORAGE_REFUSALS.contains(&code) => Some(Self::StorageExhausted),
                _ => None,
            })
    }

    /// Whether the same may succeed once the bus is well again.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Request { kind, .. } => *kind != RequestKind::Invalid,
            Self::Connect(_)
            | Self::Leaderless(_)
            | Self::Unacknowledged(_)
            | Self::Timeout(_)
            | Self::NeverCame
            | Self::Closed(_) => true,
            _ => false,
        }
    }
}

/// What a failed request means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestKind {
    /// No answer came. A missing permission looks the same.
    Timeout,
    /// The server refused, or the connection failed.
    Failed,
    /// The request itself is wrong: it will never succeed.
    Invalid,
}

/// The client has an error type for each operation, each with kinds of its own.
trait OperationErrorKind {
    fn request_kind(&self) -> RequestKind;
}

/// Says for each of the client's kinds which of them are timeouts, and which are wrong requests.
macro_rules! operation_error_kinds {
    ($($kind:ty: [$($timeout:ident)*] [$($invalid:ident)*];)*) => {
        $(impl OperationErrorKind for $kind {
            fn request_kind(&self) -> RequestKind {
                match self {
                    $(Self::$timeout => RequestKind::Timeout,)*
                    $(Self::$invalid => RequestKind::Invalid,)*
                    #[allow(unreachable_patterns)]
                    _ => RequestKind::Failed,
                }
            }
        })*
    };
}

operation_error_kinds! {
    async_nats::RequestErrorKind: [TimedOut] [];
    async_nats::PublishErrorKind: [] [];
    async_nats::client::FlushErrorKind: [] [];
    async_nats::SubscribeErrorKind: [] [];
    context::GetStreamErrorKind: [] [];
    context::KeyValueErrorKind: [] [];
    context::PublishErrorKind: [TimedOut] [];
    context::RequestErrorKind: [TimedOut] [];
    kv::CreateErrorKind: [] [InvalidKey];
    kv::EntryErrorKind: [TimedOut] [InvalidKey];
    kv::PutErrorKind: [] [InvalidKey];
    kv::UpdateErrorKind: [TimedOut] [InvalidKey];
    kv::WatchErrorKind: [TimedOut] [InvalidKey];
    kv::WatcherErrorKind: [] [];
    consumer::pull::BatchErrorKind: [] [];
    stream::ConsumerErrorKind: [TimedOut] [InvalidName];
    stream::DeleteMessageErrorKind: [TimedOut] [];
    stream::DirectGetErrorKind: [TimedOut] [];
    stream::LastRawMessageErrorKind: [] [];
    stream::PurgeErrorKind: [TimedOut] [];
}

impl<K> From<async_nats::error::Error<K>> for Error
where
    K: OperationErrorKind + Clone + fmt::Debug + fmt::Display + PartialEq + Send + Sync + 'static,
{
    fn from(error: async_nats::error::Error<K>) -> Self {
        if let Some(full) = Self::no_room(&error) {
            return full;
        }
        Self::Request {
            kind: error.kind().request_kind(),
            source: Box::new(error),
        }
    }
}

impl From<async_nats::Error> for Error {
    fn from(source: async_nats::Error) -> Self {
        let kind = RequestKind::Failed;
        Self::Request { kind, source }
    }
}

impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::Request {
            kind: RequestKind::Invalid,
            source: Box::new(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn client_errors_keep_their_source_and_tell_timeouts_from_refusals_and_wrong_requests() {
        let table = [
            (kv::EntryErrorKind::TimedOut, RequestKind::Timeout, true),
            (kv::EntryErrorKind::Other, RequestKind::Failed, true),
            (kv::EntryErrorKind::InvalidKey, RequestKind::Invalid, false),
        ];
        for (of_client, expected, is_transient) in table {
            let source = std::io::Error::other("the cause");
            let error = Error::from(kv::EntryError::with_source(of_client, source));
            assert!(matches!(error, Error::Request { kind, .. } if kind == expected));
            assert_eq!(error.is_transient(), is_transient, "{error}");
            let cause = error.source().and_then(|source| source.source());
            assert_eq!(cause.map(ToString::to_string).as_deref(), Some("the cause"));
        }
    }
}
