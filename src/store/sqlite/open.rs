//! Opening the file: its mode, its schema, and whether it is damaged.

use std::{
    fs::OpenOptions,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior};
use tokio::sync::Semaphore;

use super::{
    CLIENT_READERS, READERS, Sqlite,
    health::{Health, is_damage},
    write,
};
use crate::{
    config,
    store::Error,
    tasks::{KeyedSemaphore, Tasks},
};

/// Each takes a file from the version of its place in this list to the next one.
const MIGRATIONS: [&str; 4] = [
    include_str!("schema.sql"),
    include_str!("schema_2.sql"),
    include_str!("schema_3.sql"),
    include_str!("schema_4.sql"),
];
const SCHEMA_VERSION: i64 = MIGRATIONS.len() as i64;
/// Pages of 4 KiB in the log from which they are copied into the file. Most are pages of indexes
/// that the next transactions change again: SQLite's own 1 000 would copy them after nearly each of
/// them.
const CHECKPOINT_PAGES: i64 = 16_384;
/// Between two tries to switch a new file to WAL.
const BUSY_PAUSE: Duration = Duration::from_millis(10);
/// How long a start may look for damage.
const QUICK_CHECK_TIME_MAX: Duration = Duration::from_secs(2);
/// Steps of SQLite's machine between two looks at the clock.
const PROGRESS_STEPS: i32 = 10_000;

/// Opens the file with one connection that writes and some that read.
///
/// # Errors
/// Each names `store.path` and says what to do.
pub(super) fn open(settings: &config::Store, tasks: Tasks) -> Result<Sqlite, Error> {
    let path = &settings.path;
    make_file(path).map_err(|error| not_writable(path).because(error))?;
    if let Some(table) = foreign_table(path) {
        return Err(Error::open(format!(
            "store.path {}: is the file of another program, with a table {table:?}: name a file \
             of wahook's own",
            path.display()
        )));
    }
    let open = |flags| {
        let connected = connect(path, settings.busy_timeout, flags);
        connected.map_err(|error| unusable(path, error))
    };
    let mut connection = open(OpenFlags::default())?;
    migrate(&mut connection).map_err(|error| error.tell(path))?;
    quick_check(&connection).map_err(|found| damaged(path).because(found))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let readers: Result<Vec<_>, Error> = (0..READERS).map(|_| open(flags)).collect();
    let health = Health::default();
    Ok(Sqlite {
        writer: write::Writer::start(connection, settings, health.clone(), &tasks),
        health,
        readers: Arc::new(Mutex::new(readers?)),
        permits: Arc::new(Semaphore::new(READERS)),
        clients: Arc::new(KeyedSemaphore::new(CLIENT_READERS)),
        tasks,
    })
}

fn unusable(path: &Path, error: rusqlite::Error) -> Error {
    match is_damage(&error) {
        true => damaged(path).because(error),
        false => not_writable(path).because(error),
    }
}

fn not_writable(path: &Path) -> Error {
    Error::open(format!(
        "store.path {}: name a file in a folder that can be written",
        path.display()
    ))
}

fn damaged(path: &Path) -> Error {
    Error::open(format!(
        "store.path {}: the file is damaged, or no SQLite file: restore it from a backup, or move \
         it away to begin with an empty audit",
        path.display()
    ))
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
            Err(error) if is(&error, ErrorCode::DatabaseBusy) && Instant::now() < deadline => {
                thread::sleep(BUSY_PAUSE);
            }
            switched => return switched,
        }
    }
}

fn is(error: &rusqlite::Error, code: ErrorCode) -> bool {
    error.sqlite_error_code() == Some(code)
}

/// Looks for damage. A file that is too large for the time passes with what was seen of it: damage
/// that is found later turns readiness red.
fn quick_check(connection: &Connection) -> Result<(), String> {
    let deadline = Instant::now() + QUICK_CHECK_TIME_MAX;
    let checked = connection
        .progress_handler(PROGRESS_STEPS, Some(move || Instant::now() > deadline))
        .and_then(|()| {
            connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))
        });
    let cleared = connection.progress_handler(0, None::<fn() -> bool>);
    match checked {
        Ok(found) if found == "ok" => cleared.map_err(|error| error.to_string()),
        Ok(found) => Err(found),
        Err(error) if is(&error, ErrorCode::OperationInterrupted) => {
            tracing::debug!("the store is too large to be checked in whole at the start");
            Ok(())
        }
        Err(error) => Err(error.to_string()),
    }
}

/// Why the file does not have this version's schema.
enum MigrateError {
    /// It has this version, which is newer.
    Newer(i64),
    Sqlite(rusqlite::Error),
}

impl MigrateError {
    fn tell(self, path: &Path) -> Error {
        let shown = path.display();
        match self {
            Self::Newer(version) => Error::open(format!(
                "store.path {shown}: has schema version {version}, this wahook knows \
                 {SCHEMA_VERSION}: use a newer wahook"
            )),
            Self::Sqlite(error) if is_damage(&error) => damaged(path).because(error),
            Self::Sqlite(error) => Error::open(format!(
                "store.path {shown}: its schema cannot be read or changed: if it is the file of \
                 another program, name a file of wahook's own"
            ))
            .because(without_sql(error)),
        }
    }
}

/// The error without the statement, which is a page long in a migration.
fn without_sql(error: rusqlite::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.into(),
        other => other.into(),
    }
}

impl From<rusqlite::Error> for MigrateError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

fn schema_version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// A table of a file that has no version of wahook's schema. The file is only read: a database of
/// another program must not even change its journal mode.
fn foreign_table(path: &Path) -> Option<String> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
    // One snapshot: another process may be creating the schema.
    let snapshot = connection.unchecked_transaction().ok()?;
    let is_new = schema_version(&snapshot).ok()? == 0;
    let tables = "SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' LIMIT 1";
    let table = snapshot
        .query_row(tables, [], |row| row.get(0))
        .optional()
        .ok()?;
    table.filter(|_| is_new)
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
