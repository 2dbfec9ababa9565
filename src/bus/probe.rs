//! Whether the bus can do its work, for readiness.

use async_nats::jetstream::{ErrorCode, context::AccountErrorKind};
use bytes::Bytes;
use tokio::time::timeout;

use super::{Bus, Error, bucket::Raw, shared_keys::SETTINGS};

/// More than a page of the disk: on a full one, less may still fit into a page that a file has.
const PROBE_BYTES: usize = 8 * 1024;
const TIMEOUT_SHARE: f64 = 0.8;
/// The key that each probe overwrites. All nodes share it, since its value does not matter.
const PROBE_KEY: &str = "write_probe";

impl Bus {
    /// Writes a value of 8 KiB, which replaces the one before. Like publishing a message, it fails
    /// when the disk or the storage of JetStream is full, and when no server leads the bucket.
    pub async fn check_writable(&self) -> Result<(), Error> {
        let settings = self.buckets().bucket::<Bytes, Raw>(SETTINGS, Raw);
        let value = Bytes::from_static(&[b'.'; PROBE_BYTES]);
        // Shorter than the client's own time, so that silence has one name.
        let limit = self.request_timeout.mul_f64(TIMEOUT_SHARE);
        let written = timeout(limit, settings.put(PROBE_KEY, &value)).await;
        written
            .map_err(|_| Error::Timeout("acknowledgement of a write"))?
            .map(drop)
    }

    /// Whether the connected server takes no writes and does not say why. A nats-server whose disk
    /// was full stays so until it is started again, also when there is room; an older one disables
    /// JetStream. A server that refuses a write, for example because its storage is used up, is not
    /// stuck: a restart would change nothing.
    pub async fn is_stuck(&self) -> bool {
        let stuck = match self.check_writable().await {
            Ok(()) => false,
            Err(Error::Timeout(_)) => true,
            Err(_) => !self.jetstream_is_enabled().await,
        };
        stuck && self.is_connected()
    }

    async fn jetstream_is_enabled(&self) -> bool {
        match self.context.query_account().await {
            Err(error) => match error.kind() {
                AccountErrorKind::JetStreamUnavailable => false,
                AccountErrorKind::JetStream(refused) => ![
                    ErrorCode::JETSTREAM_NOT_ENABLED,
                    ErrorCode::JETSTREAM_NOT_ENABLED_FOR_ACCOUNT,
                ]
                .contains(&refused.error_code()),
                _ => true,
            },
            Ok(_) => true,
        }
    }
}
