//! A store that counts what it has taken.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_trait::async_trait;
use wahook::{
    model::{
        Attempt, ClientId, Event, EventFilter, EventId, HourStats, Position, Timestamp, WebhookId,
        WebhookState,
    },
    store::{Error, Store},
};

/// Counts what the store has taken.
pub(super) struct Counting {
    pub(super) inner: Arc<dyn Store>,
    pub(super) recorded: AtomicU64,
}

#[async_trait]
impl Store for Counting {
    async fn record(&self, attempts: Vec<Attempt>) -> Result<(), Error> {
        let count = attempts.len() as u64;
        self.inner.record(attempts).await?;
        self.recorded.fetch_add(count, Ordering::Relaxed);
        Ok(())
    }
    async fn event(
        &self,
        client: ClientId,
        webhook: WebhookId,
        event: EventId,
    ) -> Result<Option<Event>, Error> {
        self.inner.event(client, webhook, event).await
    }
    async fn events(
        &self,
        client: ClientId,
        webhook: WebhookId,
        filter: EventFilter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        self.inner
            .events(client, webhook, filter, after, limit)
            .await
    }
    async fn dead_letters(
        &self,
        client: ClientId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        self.inner.dead_letters(client, after, limit).await
    }
    async fn states(
        &self,
        client: ClientId,
        webhooks: &[WebhookId],
    ) -> Result<HashMap<WebhookId, WebhookState>, Error> {
        self.inner.states(client, webhooks).await
    }
    async fn stats(
        &self,
        client: ClientId,
        webhook: WebhookId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<HourStats>, Error> {
        self.inner.stats(client, webhook, since, until).await
    }
    async fn expire(&self, before: Timestamp) -> Result<usize, Error> {
        self.inner.expire(before).await
    }
    async fn flush(&self) -> Result<(), Error> {
        self.inner.flush().await
    }
    async fn ping(&self) -> Result<(), Error> {
        self.inner.ping().await
    }
}
