//! SQLite: WAL, `synchronous=FULL`, one writing thread, a few readers.

mod health;
mod interrupt;
mod open;
mod read;
mod rows;
mod write;

use std::{
    collections::HashMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::Semaphore;

use self::health::Health;
use super::{Error, Store};
use crate::{
    config,
    model::{
        Attempt, ClientId, Event, EventFilter, EventId, HourStats, Position, Timestamp, WebhookId,
        WebhookState,
    },
    tasks::{KeyedSemaphore, TaskKind, Tasks},
    telemetry,
};

const READERS: usize = 4;
/// Those that one client's queries have at once: a query may take as long as its caller waits.
const CLIENT_READERS: usize = READERS / 2;

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::failed(error)
    }
}

/// The embedded store. Clones share it.
#[derive(Clone)]
pub struct Sqlite {
    writer: write::Writer,
    health: Health,
    readers: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    clients: Arc<KeyedSemaphore<ClientId>>,
    tasks: Tasks,
}

impl Sqlite {
    /// Opens the file, making it and its folder if they are missing.
    ///
    /// # Errors
    /// When it cannot be opened, is damaged, or is another program's or a newer wahook's; names
    /// `store.path`.
    pub async fn open(settings: &config::Store, tasks: &Tasks) -> Result<Self, Error> {
        let settings = settings.clone();
        let own = tasks.clone();
        let opened = tasks.blocking(TaskKind::SqliteQuery, move || open::open(&settings, own));
        opened.await.ok_or_else(Error::closed)?
    }

    /// Runs a query for a client, which leaves connections for the others.
    async fn read_for<T: Send + 'static>(
        &self,
        client: ClientId,
        name: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let permit = self.clients.acquire(client).await;
        self.read(name, move |connection| {
            // Until the query is over, which may be after its caller has gone.
            let _permit = permit;
            query(connection)
        })
        .await
    }

    /// Runs a query on a reading connection, on a thread that may block. It ends when its caller
    /// stops to wait for it.
    async fn read<T: Send + 'static>(
        &self,
        name: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| Error::closed())?;
        let readers = Arc::clone(&self.readers);
        let health = self.health.clone();
        let (running, waiting) = interrupt::pair();
        let answer = self.tasks.blocking(TaskKind::SqliteQuery, move || {
            let lock = || readers.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = lock()
                .pop()
                .expect("there are as many permits as connections");
            // A panic must not take the connection with it: the permit would come back without one.
            let run = || running.run(&connection, || query(&connection));
            let answer = catch_unwind(AssertUnwindSafe(run));
            lock().push(connection);
            drop(permit);
            let answer = answer
                .map_err(|_| Error::failed(format!("the query {name} panicked")))?
                .ok_or_else(Error::closed)?;
            health.note(&answer);
            answer.map_err(Error::from)
        });
        let answer = answer.await.ok_or_else(Error::closed)?;
        drop(waiting);
        telemetry::store_request(name, answer.is_ok(), started.elapsed());
        answer
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn record(&self, attempts: Vec<Attempt>) -> Result<(), Error> {
        let started = Instant::now();
        let written = self.writer.write(attempts).await;
        telemetry::store_request("record", written.is_ok(), started.elapsed());
        written
    }

    async fn event(
        &self,
        client: ClientId,
        webhook: WebhookId,
        event: EventId,
    ) -> Result<Option<Event>, Error> {
        self.read_for(client, "event", move |connection| {
            read::event(connection, client, webhook, event)
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
        self.read_for(client, "events", move |connection| {
            read::events(connection, client, webhook, filter, after, limit)
        })
        .await
    }

    async fn dead_letters(
        &self,
        client: ClientId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        self.read_for(client, "dead_letters", move |connection| {
            read::dead_letters(connection, client, after, limit)
        })
        .await
    }

    async fn states(
        &self,
        client: ClientId,
        webhooks: &[WebhookId],
    ) -> Result<HashMap<WebhookId, WebhookState>, Error> {
        let webhooks = webhooks.to_vec();
        self.read_for(client, "states", move |connection| {
            read::states(connection, client, &webhooks)
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
        self.read_for(client, "stats", move |connection| {
            read::stats(connection, client, webhook, since, until)
        })
        .await
    }

    async fn expire(&self, before: Timestamp) -> Result<usize, Error> {
        let started = Instant::now();
        let expired = self.writer.expire(before).await;
        telemetry::store_request("expire", expired.is_ok(), started.elapsed());
        expired
    }

    /// Nothing is kept in memory.
    async fn flush(&self) -> Result<(), Error> {
        Ok(())
    }

    /// Fails as well when the file is damaged, or the last write failed and none has worked since.
    async fn ping(&self) -> Result<(), Error> {
        self.health.check()?;
        self.read("ping", |connection| {
            connection.query_row("SELECT 1", [], |_| Ok(()))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tempfile::TempDir;

    use super::*;
    use crate::store::ErrorKind;

    /// A new store, and its folder, which goes when it is dropped.
    async fn opened() -> (TempDir, Sqlite) {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = config::Store {
            path: folder.path().join("hooks.db"),
            ..config::Config::default().store
        };
        let store = Sqlite::open(&settings, &Tasks::default()).await;
        (folder, store.expect("opens"))
    }

    #[tokio::test]
    async fn the_files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let (folder, _store) = opened().await;
        let files: Vec<_> = std::fs::read_dir(folder.path())
            .expect("a folder")
            .map(|file| file.expect("a file"))
            .collect();
        assert!(files.len() > 1, "the file and its companions");
        for file in files {
            let mode = file.metadata().expect("is there").permissions().mode();
            assert_eq!(mode & 0o077, 0, "{:?} has mode {mode:o}", file.file_name());
        }
    }

    #[tokio::test]
    async fn queries_that_panic_cost_no_connection() {
        let (_folder, store) = opened().await;
        for _ in 0..=READERS {
            let answer = store
                .read("test", |_| -> rusqlite::Result<()> { panic!("on purpose") })
                .await;
            let kind = answer.expect_err("it panicked").kind();
            assert_eq!(kind, ErrorKind::Failed);
        }
        store.ping().await.expect("still answers");
    }

    /// It would never end by itself.
    fn count_for_ever(connection: &Connection) -> rusqlite::Result<i64> {
        const QUERY: &str = "WITH RECURSIVE number (n) AS (
                SELECT 1 UNION ALL SELECT n + 1 FROM number)
            SELECT max(n) FROM number";
        connection.query_row(QUERY, [], |row| row.get(0))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn queries_that_nobody_waits_for_leave_their_connections_to_others() {
        let (_folder, store) = opened().await;
        // As many as run at once, and some that wait for them.
        let given_up = (0..READERS * 3).map(|_| {
            let query = store.read("endless", count_for_ever);
            tokio::time::timeout(Duration::from_millis(200), query)
        });
        for ended in futures_util::future::join_all(given_up).await {
            assert!(ended.is_err(), "its caller gave up");
        }
        tokio::time::timeout(Duration::from_secs(30), store.ping())
            .await
            .expect("a connection is free")
            .expect("answers");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn endless_queries_of_one_client_leave_connections_to_others() {
        let (_folder, store) = opened().await;
        let client = |id: u64| ClientId::try_from(id).expect("in range");
        let greedy = (0..READERS * 3).map(|_| store.read_for(client(1), "endless", count_for_ever));
        let greedy = futures_util::future::join_all(greedy);
        let other = async {
            for _ in 0..10 {
                let states = store
                    .states(client(2), &[WebhookId(uuid::Uuid::nil())])
                    .await;
                assert!(states.expect("answers").is_empty());
            }
        };
        tokio::select! {
            _ = greedy => panic!("they never end"),
            done = tokio::time::timeout(Duration::from_secs(30), other) => {
                done.expect("a connection is free");
            }
        }
    }
}
