//! The keys of a session, as the client reads and writes them.

use std::sync::{Arc, Mutex, OnceLock};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;
use whatsapp_rust::store::error::{Result, StoreError};

use super::{
    memory::{Memory, Shared, Write},
    table::{Table, decode},
    writer::Writer,
};
use crate::{
    bus::{self, KeyLog},
    model::{KeyChange, KeyTables},
    tasks::{TaskKind, Tasks},
};

/// Writes that wait for the one that is under way. The client makes a few at once.
const WAITING_MAX: usize = 64;

/// The keys of one session. Clones are the same store.
#[derive(Clone)]
pub struct KeyStore {
    shared: Arc<Shared>,
    writes: mpsc::Sender<Write>,
}

impl KeyStore {
    /// Starts to write to this log, whose content the tables are.
    pub fn start(log: KeyLog, tables: KeyTables, tasks: &Tasks) -> Self {
        let (writes, waiting) = mpsc::channel(WAITING_MAX);
        let memory = Memory {
            tables,
            number: log.number(),
            ..Memory::default()
        };
        let shared = Arc::new(Shared {
            memory: Mutex::new(memory),
            has_later: Notify::new(),
            closing: CancellationToken::new(),
            ended: CancellationToken::new(),
            failure: OnceLock::new(),
        });
        let writer = Writer {
            shared: Arc::clone(&shared),
            log,
            waiting,
        };
        drop(tasks.once(TaskKind::KeyWriter, writer.run().in_current_span()));
        Self { shared, writes }
    }

    /// The number of the last record that the log has.
    pub fn number(&self) -> u64 {
        self.shared.memory().number
    }

    /// Waits until nothing can be written any more; `Some` if that is because of an error.
    pub(in crate::ingest) async fn ended(&self) -> Option<&bus::Error> {
        self.shared.ended.cancelled().await;
        self.shared.failure.get()
    }

    /// Lets what is not stored yet be stored, and then nothing more.
    pub(in crate::ingest) fn end(&self) {
        self.shared.closing.cancel();
    }

    /// The same, and waits for it.
    pub async fn close(&self) {
        self.end();
        self.shared.ended.cancelled().await;
    }

    /// Returns once the changes are stored.
    pub(super) async fn now(&self, changes: Vec<KeyChange>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        let (stored, answer) = oneshot::channel();
        let write = Write { changes, stored };
        let handed_over = self.writes.send(write).await;
        handed_over.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())
    }

    /// Changes memory at once, and the log soon.
    pub(super) fn later(&self, changes: Vec<KeyChange>) -> Result<()> {
        self.update(|memory| memory.later(changes))
    }

    /// Changes memory with what it has in view.
    pub(super) fn update<T>(&self, change: impl FnOnce(&mut Memory) -> T) -> Result<T> {
        if self.shared.ended.is_cancelled() {
            return Err(ended());
        }
        let mut memory = self.shared.memory();
        let outcome = change(&mut memory);
        let has_later = !memory.later.is_empty();
        drop(memory);
        if has_later {
            self.shared.has_later.notify_one();
        }
        Ok(outcome)
    }

    /// Looks into memory.
    pub(super) fn read<T>(&self, look: impl FnOnce(&KeyTables) -> T) -> T {
        look(&self.shared.memory().tables)
    }

    pub(super) fn get(&self, table: Table, key: &[u8]) -> Option<Bytes> {
        self.read(|tables| tables.get(table as u8, key).cloned())
    }

    pub(super) fn get_decoded<T>(&self, table: Table, key: &[u8]) -> Result<Option<T>>
    where
        T: serde::de::DeserializeOwned,
    {
        let found = self.get(table, key);
        found.map(|bytes| decode(table, &bytes)).transpose()
    }
}

fn ended() -> StoreError {
    let why = "the session's keys cannot be written any more";
    std::io::Error::new(std::io::ErrorKind::PermissionDenied, why).into()
}
