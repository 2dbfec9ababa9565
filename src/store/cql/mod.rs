//! ScyllaDB and Cassandra.
//!
//! One session per process. Statements are prepared once, and each is idempotent: it writes under
//! the attempt's own time. An attempt is one INSERT into `events`. An attempt that failed, or that
//! follows a failed one, also writes secondary index rows, from which listings by status begin.
//! Index rows may be stale, but none is ever missing: each is resolved against `events`.

mod cause;
mod listing;
mod maintenance;
mod migrate;
mod read;
mod recent;
mod rows;
mod schema;
mod session;
mod state;
mod statements;
mod write;

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use scylla::client::session::Session;
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{
    recent::{Hours, Key, WrittenDays},
    session::Profiles,
    statements::Statements,
};
use super::{Error, ErrorKind, Store};
use crate::{
    config,
    model::{
        Attempt, ClientId, Event, EventFilter, EventId, HourStats, Position, Timestamp, WebhookId,
        WebhookState,
    },
    tasks::{TaskKind, Tasks},
    telemetry,
};

pub use migrate::{Migrator, Step};

/// Read statements in flight. They have permits of their own, so that reads do not wait behind a
/// backlog of writes.
const READS_IN_FLIGHT: usize = 64;

/// A connected session in a keyspace whose schema is up to date.
struct Connected {
    session: Session,
    statements: Statements,
    retention: Duration,
    writes: Semaphore,
    reads: Semaphore,
    days: WrittenDays<(Key, i32)>,
    letter_days: WrittenDays<(ClientId, i32)>,
    hours: Hours,
}

impl Connected {
    async fn new(settings: &config::Cql, retention: Duration) -> Result<Self, Error> {
        let profiles = Profiles::new(settings);
        let session = session::connect(settings, &profiles).await?;
        migrate::check(&session, &settings.keyspace, retention).await?;
        session
            .use_keyspace(&settings.keyspace, false)
            .await
            .map_err(Error::failed)?;
        let statements = Statements::prepare(&session, &profiles).await?;
        Ok(Self {
            session,
            statements,
            retention,
            writes: Semaphore::new(settings.in_flight),
            reads: Semaphore::new(READS_IN_FLIGHT),
            days: WrittenDays::new(),
            letter_days: WrittenDays::new(),
            hours: Hours::new(),
        })
    }
}

/// The session, or why there is none.
type Slot = RwLock<Result<Arc<Connected>, Error>>;

/// The store in a ScyllaDB or Cassandra cluster.
pub struct Cql {
    slot: Arc<Slot>,
    /// Ends the maintenance with the store.
    _open: Arc<DropGuard>,
}

impl Cql {
    /// Connects and checks the schema. If the cluster does not answer, connecting goes on in the
    /// background: a node must be able to start without its store.
    ///
    /// # Errors
    /// [`ErrorKind::Open`] when the schema is missing, behind or changed, or the settings cannot
    /// work.
    pub async fn open(
        settings: &config::Cql,
        retention: Duration,
        tasks: &Tasks,
    ) -> Result<Self, Error> {
        let slot = match Connected::new(settings, retention).await {
            Ok(connected) => Ok(Arc::new(connected)),
            Err(error) if error.kind() == ErrorKind::Open => return Err(error),
            Err(error) => {
                telemetry::error("store", "connect");
                tracing::warn!(
                    error = telemetry::report(&error),
                    "the store does not answer; the node starts without it and tries again"
                );
                Err(error)
            }
        };
        let slot = Arc::new(RwLock::new(slot));
        let maintained = (Arc::downgrade(&slot), settings.clone());
        let dropped = CancellationToken::new();
        let open = dropped.clone().drop_guard();
        tasks.keep(TaskKind::CqlMaintenance, &dropped, move || {
            let (slot, settings) = maintained.clone();
            maintenance::run(slot, settings, retention)
        });
        Ok(Self {
            slot,
            _open: Arc::new(open),
        })
    }

    fn connected(&self) -> Result<Arc<Connected>, Error> {
        let slot = self
            .slot
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        slot.clone()
    }

    /// Runs a request and records how long it took.
    async fn timed<T, F: Future<Output = Result<T, Error>>>(
        &self,
        name: &'static str,
        work: impl FnOnce(Arc<Connected>) -> F,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let answer = match self.connected() {
            Ok(connected) => work(connected).await,
            Err(error) => Err(error),
        };
        telemetry::store_request(name, answer.is_ok(), started.elapsed());
        answer
    }
}

#[async_trait]
impl Store for Cql {
    async fn record(&self, attempts: Vec<Attempt>) -> Result<(), Error> {
        self.timed(
            "record",
            |store| async move { store.record(&attempts).await },
        )
        .await
    }

    async fn event(
        &self,
        client: ClientId,
        webhook: WebhookId,
        event: EventId,
    ) -> Result<Option<Event>, Error> {
        self.timed("event", |store| async move {
            store.event((client, webhook), event).await
        })
        .await
    }

    async fn events(
        &self,
        client: ClientId,
        webhook: WebhookId,
        filter: EventFilter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        self.timed("events", |store| async move {
            store.events((client, webhook), filter, after, limit).await
        })
        .await
    }

    async fn dead_letters(
        &self,
        client: ClientId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        self.timed("dead_letters", |store| async move {
            store.dead_letters(client, after, limit).await
        })
        .await
    }

    async fn states(
        &self,
        client: ClientId,
        webhooks: &[WebhookId],
    ) -> Result<HashMap<WebhookId, WebhookState>, Error> {
        let webhooks = webhooks.to_vec();
        self.timed("states", |store| async move {
            store.states(client, &webhooks).await
        })
        .await
    }

    async fn stats(
        &self,
        client: ClientId,
        webhook: WebhookId,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<HourStats>, Error> {
        self.timed("stats", |store| async move {
            store.stats((client, webhook), since, until).await
        })
        .await
    }

    /// Nothing to do: rows have a time to live.
    async fn expire(&self, _: Timestamp) -> Result<usize, Error> {
        Ok(0)
    }

    async fn flush(&self) -> Result<(), Error> {
        self.connected()?.flush_hours().await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.timed("ping", |store| async move { store.ping().await })
            .await
    }
}
