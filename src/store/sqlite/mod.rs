//! SQLite: WAL, `synchronous=FULL`, one writing thread, a few readers.

mod read;
mod rows;
mod write;

use std::{
    collections::HashMap,
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use tokio::sync::Semaphore;

use super::{Error, Store};
use crate::{
    config,
    model::{
        Attempt, ClientId, Event, EventFilter, EventId, HourStats, Position, Timestamp, WebhookId,
        WebhookState,
    },
    tasks::{TaskKind, Tasks},
    telemetry,
};

/// Each takes a file from the version of its place in this list to the next one.
const MIGRATIONS: [&str; 3] = [
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
];
const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;
const READERS: usize = 4;
/// Pages of 4 KiB in the log from which they are copied into the file. Most are pages of indexes
/// that the next transactions change again: SQLite's own 1 000 would copy them after nearly each of
/// them.
const CHECKPOINT_PAGES: i64 = 16_384;
/// Between two tries to switch a new file to WAL.
const BUSY_PAUSE: Duration = Duration::from_millis(10);

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::failed(error)
    }
}

/// The embedded store. Clones share it.
#[derive(Clone)]
pub struct Sqlite {
    writer: write::Writer,
    readers: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
    tasks: Tasks,
}

impl Sqlite {
    /// Opens the file, making it and its folder if they are missing.
    ///
    /// # Errors
    /// When it cannot be opened, or was written by a newer wahook; names `store.path`.
    pub async fn open(settings: &config::Store, tasks: &Tasks) -> Result<Self, Error> {
        let settings = settings.clone();
        let own = tasks.clone();
        let opened = tasks.blocking(TaskKind::SqliteQuery, move || open_all(&settings, own));
        opened.await.ok_or_else(Error::closed)?
    }

    /// Runs a query on a reading connection, on a thread that may block.
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
        let answer = self.tasks.blocking(TaskKind::SqliteQuery, move || {
            let lock = || readers.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = lock()
                .pop()
                .expect("there are as many permits as connections");
            // A panic must not take the connection with it: the permit would come back without one.
            let answer = catch_unwind(AssertUnwindSafe(|| query(&connection)));
            lock().push(connection);
            drop(permit);
            answer
                .map_err(|_| Error::failed(format!("the query {name} panicked")))?
                .map_err(Error::from)
        });
        let answer = answer.await.ok_or_else(Error::closed)?;
        telemetry::store_request(name, answer.is_ok(), started.elapsed());
        answer
    }
}

fn open_all(settings: &config::Store, tasks: Tasks) -> Result<Sqlite, Error> {
    let path = settings.path.display();
    let unusable = |source: Box<dyn std::error::Error + Send + Sync>| {
        let text = format!("store.path {path}: name a file in a folder that can be written");
        Error::open(text).because(source)
    };
    make_file(&settings.path).map_err(|error| unusable(error.into()))?;
    let open = |flags| {
        connect(&settings.path, settings.busy_timeout, flags)
            .map_err(|error| unusable(error.into()))
    };
    let mut connection = open(OpenFlags::default())?;
    migrate(&mut connection).map_err(|error| match error {
        MigrateError::Newer(version) => Error::open(format!(
            "store.path {path}: has schema version {version}, this wahook knows \
             {SCHEMA_VERSION}: use a newer wahook"
        )),
        MigrateError::Sqlite(error) => Error::open(format!(
            "store.path {path}: its schema cannot be read or changed"
        ))
        .because(error),
    })?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let readers: Result<Vec<_>, Error> = (0..READERS).map(|_| open(flags)).collect();
    Ok(Sqlite {
        writer: write::Writer::start(connection, settings, &tasks),
        readers: Arc::new(Mutex::new(readers?)),
        permits: Arc::new(Semaphore::new(READERS)),
        tasks,
    })
}

/// Makes the file and its folder if they are missing.
fn make_file(path: &Path) -> std::io::Result<()> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)?;
    }
    // It holds bodies and phone numbers. SQLite gives its companions (-wal, -shm) the mode of the
    // file.
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    Ok(())
}

fn connect(path: &Path, patience: Duration, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(patience)?;
    if !flags.contains(OpenFlags::SQLITE_OPEN_READ_ONLY) {
        // Before the first table, or it has no effect.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        switch_to_wal(&connection, patience)?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    }
    // Negative: KiB instead of pages.
    connection.pragma_update(None, "cache_size", -16_384)?;
    Ok(connection)
}

/// A new file is switched under a lock that SQLite does not wait for: of two processes that open it
/// at the same time one must try again.
fn switch_to_wal(connection: &Connection, patience: Duration) -> rusqlite::Result<()> {
    let deadline = Instant::now() + patience;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error) if is_busy(&error) && Instant::now() < deadline => {
                thread::sleep(BUSY_PAUSE);
            }
            switched => return switched,
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// Why the file does not have this version's schema.
enum MigrateError {
    /// It has this version, which is newer.
    Newer(i64),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

fn migrate(connection: &mut Connection) -> Result<(), MigrateError> {
    if schema_version(connection)? == SCHEMA_VERSION {
        return Ok(());
    }
    // Another process may be migrating: the version that counts is the one seen under the lock.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = schema_version(&transaction)?;
    if version > SCHEMA_VERSION {
        return Err(MigrateError::Newer(version));
    }
    let applied = usize::try_from(version).unwrap_or_default();
    for migration in MIGRATIONS.iter().skip(applied) {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    transaction.commit()?;
    Ok(())
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
        self.read("event", move |connection| {
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
        self.read("events", move |connection| {
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
        self.read("dead_letters", move |connection| {
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
        self.read("states", move |connection| {
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
        self.read("stats", move |connection| {
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

    async fn ping(&self) -> Result<(), Error> {
        self.read("ping", |connection| {
            connection.query_row("SELECT 1", [], |_| Ok(()))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::ErrorKind;

    #[tokio::test]
    async fn the_files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let settings = config::Store {
            path: folder.path().join("hooks.db"),
            ..config::Config::default().store
        };
        let _store = Sqlite::open(&settings, &Tasks::default())
            .await
            .expect("opens");
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
        let folder = tempfile::tempdir().expect("a folder");
        let settings = config::Store {
            path: folder.path().join("hooks.db"),
            ..config::Config::default().store
        };
        let store = Sqlite::open(&settings, &Tasks::default())
            .await
            .expect("opens");
        for _ in 0..=READERS {
            let answer = store
                .read("test", |_| -> rusqlite::Result<()> { panic!("on purpose") })
                .await;
            let kind = answer.expect_err("it panicked").kind();
            assert_eq!(kind, ErrorKind::Failed);
        }
        store.ping().await.expect("still answers");
    }
}
