//! SQLite: WAL, `synchronous=FULL`, one writing thread, a few readers.

mod read;
mod rows;
mod write;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::{Error, Store};
use crate::{
    config,
    model::{Attempt, ClientId, Event, EventFilter, EventId, Position, WebhookId, WebhookState},
    telemetry,
};

const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = include_str!("schema.sql");
const READERS: usize = 4;

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// The embedded store. Clones share it.
#[derive(Clone)]
pub struct Sqlite {
    writer: write::Writer,
    readers: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Sqlite {
    /// Opens the file, making it and its folder if they are missing.
    ///
    /// # Errors
    /// When it cannot be opened, or was written by a newer wahook; names `store.path`.
    pub async fn open(settings: &config::Store) -> Result<Self, Error> {
        let settings = settings.clone();
        let opened = tokio::task::spawn_blocking(move || {
            let path = &settings.path;
            open_all(&settings).map_err(|error| {
                Error::Open(format!(
                    "store.path {}: {error}; name a file in a folder that can be written",
                    path.display()
                ))
            })
        });
        opened.await.map_err(|_| Error::Closed)?
    }

    /// Runs a query on a reading connection, on a thread that may block.
    async fn read<T: Send + 'static>(
        &self,
        name: &'static str,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let started = Instant::now();
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| Error::Closed)?;
        let readers = Arc::clone(&self.readers);
        let answer = tokio::task::spawn_blocking(move || {
            let lock = || readers.lock().unwrap_or_else(PoisonError::into_inner);
            let connection = lock().pop().expect("there are as many permits as connections");
            let answer = query(&connection);
            lock().push(connection);
            drop(permit);
            answer
        });
        let answer = answer.await.map_err(|_| Error::Closed)?.map_err(Error::from);
        telemetry::store_request(name, answer.is_ok(), started.elapsed());
        answer
    }
}

fn open_all(settings: &config::Store) -> Result<Sqlite, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    if let Some(folder) = settings.path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).map_err(|error| text(&error))?;
    }
    let mut connection = connect(&settings.path, settings.busy_timeout, OpenFlags::default()).map_err(|e| text(&e))?;
    migrate(&mut connection)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let readers: rusqlite::Result<Vec<_>> =
        (0..READERS).map(|_| connect(&settings.path, settings.busy_timeout, flags)).collect();
    Ok(Sqlite {
        writer: write::Writer::start(connection, settings),
        readers: Arc::new(Mutex::new(readers.map_err(|error| text(&error))?)),
        permits: Arc::new(Semaphore::new(READERS)),
    })
}

fn connect(path: &Path, patience: Duration, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(patience)?;
    if !flags.contains(OpenFlags::SQLITE_OPEN_READ_ONLY) {
        // Before the first table, or it has no effect.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
    }
    // Negative: KiB instead of pages.
    connection.pragma_update(None, "cache_size", -16_384)?;
    Ok(connection)
}

fn migrate(connection: &mut Connection) -> Result<(), String> {
    let version: i64 =
        connection.pragma_query_value(None, "user_version", |row| row.get(0)).map_err(|error| error.to_string())?;
    match version {
        SCHEMA_VERSION => Ok(()),
        0 => {
            let mut create = || {
                let transaction = connection.transaction()?;
                transaction.execute_batch(SCHEMA)?;
                transaction.pragma_update(None, "user_version", SCHEMA_VERSION)?;
                transaction.commit()
            };
            create().map_err(|error| error.to_string())
        }
        newer => Err(format!("has schema version {newer}, this wahook knows {SCHEMA_VERSION}: use a newer wahook")),
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

    async fn event(&self, client: ClientId, webhook: WebhookId, event: EventId) -> Result<Option<Event>, Error> {
        self.read("event", move |connection| read::event(connection, client, webhook, event)).await
    }

    async fn events(
        &self,
        client: ClientId,
        webhook: WebhookId,
        filter: EventFilter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        self.read("events", move |connection| read::events(connection, client, webhook, filter, after, limit)).await
    }

    async fn dead_letters(&self, client: ClientId, after: Option<Position>, limit: usize) -> Result<Vec<Event>, Error> {
        self.read("dead_letters", move |connection| read::dead_letters(connection, client, after, limit)).await
    }

    async fn states(
        &self,
        client: ClientId,
        webhooks: &[WebhookId],
    ) -> Result<HashMap<WebhookId, WebhookState>, Error> {
        let webhooks = webhooks.to_vec();
        self.read("states", move |connection| read::states(connection, client, &webhooks)).await
    }

    async fn ping(&self) -> Result<(), Error> {
        self.read("ping", |connection| connection.query_row("SELECT 1", [], |_| Ok(()))).await
    }
}
