//! The audit: every attempt, and what follows from the attempts.
//!
//! [`Store`] is what the other rooms know. Its writes are idempotent by (event, attempt number,
//! start) and may come in any order, late or twice: the result is the same. Every read starts from
//! the client that asks, so another client's rows cannot be named. Two homes keep the same
//! contract, which `tests/it/store` holds:
//!
//! - [`Sqlite`], the embedded one: one file, one writing thread that commits groups, some reading
//!   connections.
//! - [`Cql`], for ScyllaDB and Cassandra: one INSERT per delivery that goes through at the first
//!   attempt. [`Migrator`] brings its schema up to date; a role that serves never does.
//!
//! Nothing here is on the way of a delivery: the store may be down for hours while deliveries go
//! on, and what happened meanwhile waits in the results stream.

mod cql;
mod error;
mod hours;
mod page;
mod sqlite;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;

use crate::{
    config::{self, StoreKind},
    model::{
        Attempt, ClientId, Event, EventFilter, EventId, HourStats, Position, Timestamp, WebhookId,
        WebhookState,
    },
    tasks::Tasks,
};

pub use cql::{Cql, Migrator, Step};
pub use error::{Error, ErrorKind};
use page::PageEvents;
pub use page::{PAGE_BODY_BYTES_MAX, is_last_page};
pub use sqlite::Sqlite;

/// Attempts of one event that are read. By hand an event can be tried without end, and each attempt
/// has a row with the body.
pub const ATTEMPTS_MAX: usize = 100;

/// A home of the audit.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Writes attempts; durable once it returns. Writing one again changes nothing.
    async fn record(&self, attempts: Vec<Attempt>) -> Result<(), Error>;

    /// One event with its newest attempts, at most [`ATTEMPTS_MAX`].
    async fn event(
        &self,
        client: ClientId,
        webhook: WebhookId,
        event: EventId,
    ) -> Result<Option<Event>, Error>;

    /// Events of a webhook, newest first, each with its newest attempt only; after (older than)
    /// `after`. Fewer than `limit` once their bodies have [`PAGE_BODY_BYTES_MAX`] bytes:
    /// [`is_last_page`] tells whether there are no more.
    async fn events(
        &self,
        client: ClientId,
        webhook: WebhookId,
        filter: EventFilter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Event>, Error>;

    /// Events of all webhooks of a client that were given up, newest first, each with its newest
    /// attempt only. Bounded like [`events`](Store::events).
    async fn dead_letters(
        &self,
        client: ClientId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Event>, Error>;

    /// How webhooks fared; those without any attempt are left out.
    async fn states(
        &self,
        client: ClientId,
        webhooks: &[WebhookId],
    ) -> Result<HashMap<WebhookId, WebhookState>, Error>;

    /// How a webhook fared by the hour, newest first, from `since` until before `until`; hours
    /// without attempts are left out. Rounded down to whole hours.
    async fn stats(
        &self,
        client: ClientId,
        webhook: WebhookId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<HourStats>, Error>;

    /// Drops some of what was written before this time, as far as the home does not do so by
    /// itself; how many attempts that were. More may be left while the answer is not zero.
    async fn expire(&self, before: Timestamp) -> Result<usize, Error>;

    /// Writes out what is only kept in memory: sums and times, never attempts.
    async fn flush(&self) -> Result<(), Error>;

    /// Whether it answers.
    async fn ping(&self) -> Result<(), Error>;
}

/// Opens the home that the settings name.
///
/// # Errors
/// [`ErrorKind::Open`] when it cannot work as it is: says what to do. A CQL cluster that does not
/// answer is no error; it is tried again until it does, and until then every call fails.
pub async fn open(
    settings: &config::Store,
    cql: &config::Cql,
    tasks: &Tasks,
) -> Result<Arc<dyn Store>, Error> {
    // Not among those that a drain waits for: the store is there to the end.
    let tasks = &tasks.group();
    Ok(match settings.kind {
        StoreKind::Sqlite => Arc::new(Sqlite::open(settings, tasks).await?),
        StoreKind::Cql => Arc::new(Cql::open(cql, settings.retention, tasks).await?),
    })
}
