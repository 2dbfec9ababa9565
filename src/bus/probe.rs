//! Whether the bus can do its work, for readiness.

use async_nats::jetstream::{ErrorCode, context::AccountErrorKind};
use bytes::Bytes;
use tokio::time::timeout;

use super::{Bus, Error, bucket::Raw, shared_keys::SETTINGS};

/// More than a page of the disk: on a full one, less may still fit into a page that a file has.
const PROBE_BYTES: usize = 8 * 1024;
/// The key that each probe overwrites. All nodes share it, since its value does not matter.
const PROBE_KEY: &str = "write_probe";

impl Bus {
    /// Writes a value of 8 KiB, which replaces the one before. Like publishing a message, it fails
    /// when the disk or the storage of JetStream is full, and when no server leads the bucket.
    pub async fn check_writable(&self) -> Result<(), Error> {
        let settings = self.buckets().bucket::<Bytes, Raw>(SETTINGS, Raw);
        let value = Bytes::from_static(&[b'.'; PROBE_BYTES]);
        let written = timeout(self.request_timeout, settings.put(PROBE_KEY, &value)).await;
        written
            .map_err(|_| Error::Timeout("acknowledgement of a write"))?
            .map(drop)
    }

    /// Whether JetStream runs on the server; `true` as well when the server does not answer. A
    /// server alone disables it when its disk is full, until it is started again.
    pub async fn jetstream_is_enabled(&self) -> bool {
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
