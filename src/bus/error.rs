//! What can go wrong with the bus.

use crate::wire::{SealError, WebhookCodecError};

/// Why the bus did not do it.
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
    /// What was to be published only if nothing had changed.
    #[error("the stream has another message under this subject")]
    Exists,
    /// Larger than the server takes.
    #[error("message larger than the server's max_payload")]
    TooLarge,
    /// No acknowledgement in time.
    #[error("no acknowledgement from the stream in time: {0}")]
    Unacknowledged(String),
    /// The JetStream API refused or did not answer.
    #[error("JetStream: {0}")]
    Api(String),
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

    /// Wraps an error of the JetStream API.
    pub(super) fn api(error: impl std::fmt::Display) -> Self {
        Self::Api(error.to_string())
    }
}
