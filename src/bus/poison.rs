//! Results that can never be written.

use async_nats::{HeaderMap, header};
use sha2::{Digest, Sha256};

use super::{Bus, Error};

impl Bus {
    /// Keeps a group of results that can never be stored, with why, below `wa.dlq.result`. Keeping it again keeps it once.
    ///
    /// # Errors
    /// When no acknowledgement came in time.
    pub async fn dead_result(&self, partition: u16, payload: &[u8], reason: &'static str) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        let hash = Sha256::digest(payload)[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        headers.insert(header::NATS_MESSAGE_ID, format!("result:{hash}").as_str());
        headers.insert("Wahook-Reason", reason);
        self.publish(format!("wa.dlq.result.{partition}"), headers, payload.to_vec()).await.map(drop)
    }
}
