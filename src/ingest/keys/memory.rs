//! The copy of a session's keys in memory, and what the log lacks of it.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::table::Table;
use crate::{
    bus,
    model::{KeyChange, KeyTables},
};

/// A write that its caller waits for.
pub(super) struct Write {
    pub(super) changes: Vec<KeyChange>,
    pub(super) stored: oneshot::Sender<()>,
}

/// What is in memory.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) tables: KeyTables,
    /// Changes that memory has and the log has not yet.
    pub(super) later: Vec<KeyChange>,
    /// Names of rows that the log has not.
    pub(super) rows: Vec<Bytes>,
    /// The number of the log's last record.
    pub(super) number: u64,
}

/// What the store and its writer share.
pub(super) struct Shared {
    pub(super) memory: Mutex<Memory>,
    pub(super) has_later: Notify,
    /// No more writes.
    pub(super) closing: CancellationToken,
    /// The writer has ended.
    pub(super) ended: CancellationToken,
    pub(super) failure: OnceLock<bus::Error>,
}

impl Shared {
    pub(super) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    /// Notes changes for the log, unless they change nothing.
    pub(super) fn later(&mut self, changes: Vec<KeyChange>) {
        for change in changes {
            if self.tables.apply(&change) {
                self.later.push(change);
            }
        }
    }

    /// Keeps a row in memory alone.
    pub(super) fn add_row(&mut self, row: KeyChange) {
        self.tables.apply(&row);
        self.rows.push(row.key);
    }

    /// Drops a row. The log learns of it only if it has the row.
    pub(super) fn delete_row(&mut self, key: Bytes) {
        match self.rows.iter().position(|row| *row == key) {
            Some(at) => {
                self.rows.swap_remove(at);
                self.tables.apply(&Table::Rows.delete(key));
            }
            None => self.later(vec![Table::Rows.delete(key)]),
        }
    }

    /// What memory has and the log has not, but for rows.
    pub(super) fn take_later(&mut self) -> Vec<KeyChange> {
        std::mem::take(&mut self.later)
    }

    /// The rows that the log has not. What is stored behind them may overtake them.
    pub(super) fn take_rows(&mut self) -> Vec<KeyChange> {
        let keys = std::mem::take(&mut self.rows);
        let rows = keys.into_iter().filter_map(|key| {
            let row = self.tables.get(Table::Rows as u8, &key)?.clone();
            Some(Table::Rows.put(key, row))
        });
        rows.collect()
    }

    /// Applies what is stored now. What memory had before it, and the log will have after it,
    /// stays on top.
    pub(super) fn stored(&mut self, changes: &[KeyChange], number: u64) {
        for change in changes.iter().chain(&self.later) {
            self.tables.apply(change);
        }
        self.number = number;
    }

    /// All there is, for a snapshot.
    pub(super) fn all(&mut self) -> KeyTables {
        // The snapshot has the rows.
        self.rows.clear();
        self.tables.clone()
    }
}
