//! Results that the store will never take.

use async_nats::{HeaderMap, header};

use super::{Bus, Error, Stream};
use crate::wire::{dedupe_id, subject};

impl Bus {
    /// Keeps results that the store refuses beside those that nobody can read; `wa-reason` tells
    /// them apart. Keeping them again keeps them once.
    pub async fn quarantine_results(&self, payload: &[u8]) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        let bytes: String = payload.iter().map(|byte| char::from(*byte)).collect();
        headers.insert(
            header::NATS_MESSAGE_ID,
            format!("refused:{}", dedupe_id(&[bytes.as_str()])).as_str(),
        );
        headers.insert("wa-reason", "refused by the store");
        self.publish(
            subject::undecodable(Stream::Results.as_str()),
            headers,
            payload.to_vec(),
        )
        .await
        .map(drop)
    }
}
