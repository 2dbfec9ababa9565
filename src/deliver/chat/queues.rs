//! What the order of chats asks of the bus.

use crate::{
    bus::{Bus, Error, Queued, Redelivery},
    model::Delivery,
};

/// The chat queues in the stream. The model check of the order has a fake behind this trait.
pub(in crate::deliver) trait ChatQueues: Sync {
    /// See [`Bus::enqueue`].
    fn enqueue(&self, delivery: &Delivery) -> impl Future<Output = Result<(), Error>> + Send;

    /// See [`Bus::queue_head`].
    fn queue_head(
        &self,
        delivery: &Delivery,
    ) -> impl Future<Output = Result<Option<Queued>, Error>> + Send;

    /// See [`Bus::dequeue`].
    fn dequeue(
        &self,
        delivery: &Delivery,
        redelivery: Redelivery,
    ) -> impl Future<Output = Result<(), Error>> + Send;

    /// See [`Bus::dispatch_head`].
    fn dispatch_head(&self, head: &Queued) -> impl Future<Output = Result<(), Error>> + Send;

    /// Whether a delivery waits for its time, see [`Bus::parked`].
    fn is_parked(&self, delivery: &Delivery) -> impl Future<Output = Result<bool, Error>> + Send;
}

impl ChatQueues for Bus {
    async fn enqueue(&self, delivery: &Delivery) -> Result<(), Error> {
        Self::enqueue(self, delivery).await
    }

    async fn queue_head(&self, delivery: &Delivery) -> Result<Option<Queued>, Error> {
        Self::queue_head(self, delivery).await
    }

    async fn dequeue(&self, delivery: &Delivery, redelivery: Redelivery) -> Result<(), Error> {
        Self::dequeue(self, delivery, redelivery).await
    }

    async fn dispatch_head(&self, head: &Queued) -> Result<(), Error> {
        Self::dispatch_head(self, head).await
    }

    async fn is_parked(&self, delivery: &Delivery) -> Result<bool, Error> {
        let parked = self.parked(delivery.client_id, delivery.event_id).await?;
        Ok(parked.is_some())
    }
}
