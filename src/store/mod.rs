//! The audit: every attempt, and what follows from the attempts.
//!
//! [`Store`] is what the other rooms know. Its writes are idempotent by (event, attempt number) and may come in any
//! order, late or twice: the result is the same. Every read starts from the client that asks, so another client's
//! rows cannot be named. [`Sqlite`] is the embedded home: one file, one writing thread that commits groups, some
//! reading connections.
//!
//! Nothing here is on the way of a delivery: the store may be down for hours while deliveries go on, and what
//! happened meanwhile waits in the results stream.

mod sqlite;

use std::collections::HashMap;

use async_trait::async_trait;

use crate::model::{Attempt, ClientId, Event, EventFilter, EventId, Position, WebhookId, WebhookState};

pub use sqlite::Sqlite;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It cannot be opened; says what to do.
    #[error("{0}")]
    Open(String),
    /// It failed at this; trying again may help.
    #[error("store: {0}")]
    Failed(String),
    /// It is closed: the process ends.
    #[error("the store is closed")]
    Closed,
}

/// A home of the audit.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Writes attempts; durable once it returns. Writing one again changes nothing.
    async fn record(&self, attempts: Vec<Attempt>) -> Result<(), Error>;

    /// One event with all its attempts.
    async fn event(&self, client: ClientId, webhook: WebhookId, event: EventId) -> Result<Option<Event>, Error>;

    /// Events of a webhook, newest first, each with its newest attempt only; after (older than) `after`.
    async fn events(
        &self,
        client: ClientId,
        webhook: WebhookId,
        filter: EventFilter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Event>, Error>;

    /// Events of all webhooks of a client that were given up, newest first, each with its newest attempt only.
    async fn dead_letters(&self, client: ClientId, after: Option<Position>, limit: usize) -> Result<Vec<Event>, Error>;

    /// How webhooks fared; those without any attempt are left out.
    async fn states(&self, client: ClientId, webhooks: &[WebhookId])
    -> Result<HashMap<WebhookId, WebhookState>, Error>;

    /// Whether it answers.
    async fn ping(&self) -> Result<(), Error>;
}

#[cfg(test)]
mod contract;
