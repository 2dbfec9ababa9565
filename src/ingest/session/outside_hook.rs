//! What a session publishes outside the client's hook. WhatsApp does not hand it out again: one try
//! is all there is.

use tokio::time::timeout;
use whatsapp_rust::types::events::{MessageBatch, UndecryptableMessage};

use super::live::Live;
use crate::ingest::receipt::Receipt;

impl Live<'_> {
    /// WhatsApp does not hand these messages out again: this one try is all there is.
    pub(super) async fn publish_bypassed(&self, batch: &MessageBatch) {
        let client = self.handle.client();
        let publishing = self.publisher.publish_all(&client, &batch.messages);
        if !self.is_published(publishing).await {
            tracing::error!("messages outside the hook could not be published");
        }
    }

    /// The same holds for messages without their content.
    pub(super) async fn publish_unreadable(&self, message: &UndecryptableMessage) {
        let client = self.handle.client();
        let publishing = self.publisher.publish_unreadable(&client, message);
        if !self.is_published(publishing).await {
            tracing::error!("nobody was told of a message that could not be read");
        }
    }

    /// The same holds for receipts.
    pub(super) async fn publish_receipt(&self, receipt: &Receipt) {
        let client = self.handle.client();
        let publishing = self.publisher.publish_receipt(&client, receipt);
        if !self.is_published(publishing).await {
            tracing::error!("a receipt could not be published");
        }
    }

    /// Whether it is published in time.
    async fn is_published(&self, publishing: impl Future<Output = anyhow::Result<()>>) -> bool {
        let published = timeout(self.publisher.publish_timeout, publishing).await;
        matches!(published, Ok(Ok(())))
    }
}
