//! A session's files: where they are, who may read them, how they are opened and erased.

use std::{
    future::Future,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
};

use anyhow::Context;
use whatsapp_rust::{prelude::SqliteStore, store::traits::Backend};

use crate::model::SessionId;

/// The storage of one session's keys, being opened.
pub type Opening = Pin<Box<dyn Future<Output = anyhow::Result<Arc<dyn Backend>>> + Send>>;

/// Opens the storage of a session's keys behind a path: [`sqlite`], or another that the node
/// chooses.
pub type Open = Arc<dyn Fn(PathBuf) -> Opening + Send + Sync>;

/// The client's own storage in a SQLite file that this user alone can read.
pub fn sqlite(path: PathBuf) -> Opening {
    Box::pin(async move {
        create_private(&path)?;
        let store = SqliteStore::new(&path.to_string_lossy())
            .await
            .context("opening the session's file")?;
        Ok(Arc::new(store) as Arc<dyn Backend>)
    })
}

pub(super) fn database(folder: &Path, id: SessionId) -> PathBuf {
    folder.join(format!("{id}.db"))
}

pub(super) fn epoch(folder: &Path, id: SessionId) -> PathBuf {
    folder.join(format!("{id}.epoch"))
}

pub(super) fn lock(folder: &Path, id: SessionId) -> PathBuf {
    folder.join(format!("{id}.lock"))
}

/// SQLite gives its journal the permissions of the database.
fn create_private(file: &Path) -> anyhow::Result<()> {
    let opened = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(file);
    opened
        .map(drop)
        .with_context(|| format!("creating {}", file.display()))
}

/// Removes a session's keys. Epoch and lock stay as long as the folder: an epoch must never go
/// back.
pub(super) fn erase(folder: &Path, id: SessionId) -> anyhow::Result<()> {
    let database = database(folder, id);
    for ending in ["db", "db-wal", "db-shm"] {
        let file = database.with_extension(ending);
        match std::fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("erasing {}", file.display()));
            }
            _ => {}
        }
    }
    Ok(())
}
