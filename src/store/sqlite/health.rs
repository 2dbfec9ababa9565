//! What the calls so far have shown of the file, for readiness.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::ErrorCode;

use crate::store::{Error, ErrorKind};

/// Whether an error says that the file is damaged.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// Clones share it.
#[derive(Clone, Default)]
pub(super) struct Health(Arc<Mutex<Faults>>);

#[derive(Default)]
struct Faults {
    /// Stays: a damaged file does not heal.
    damage: Option<Error>,
    /// Of the last write.
    write: Option<Error>,
}

impl Health {
    /// Remembers damage that a call has met.
    pub(super) fn note<T>(&self, answer: &rusqlite::Result<T>) {
        let Err(error) = answer else { return };
        if is_damage(error) {
            let text = "the SQLite file is damaged: restore it from a backup, or move it away and \
                        start again with an empty audit";
            let damage = Error::new(ErrorKind::Failed, text).because(error.to_string());
            self.faults().damage.get_or_insert(damage);
        }
    }

    /// Remembers how the last write ended.
    pub(super) fn note_write(&self, written: &rusqlite::Result<()>) {
        self.note(written);
        self.faults().write = written.as_ref().err().map(|error| {
            Error::new(ErrorKind::Failed, "cannot be written").because(error.to_string())
        });
    }

    /// Fails when the file is damaged, or the last write failed.
    pub(super) fn check(&self) -> Result<(), Error> {
        let faults = self.faults();
        let fault = faults.damage.as_ref().or(faults.write.as_ref());
        fault.cloned().map_or(Ok(()), Err)
    }

    fn faults(&self) -> MutexGuard<'_, Faults> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
