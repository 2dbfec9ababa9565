//! Where the keys of sessions are: in files of one folder, or in JetStream.

use std::{path::PathBuf, sync::Arc};

use anyhow::Context as _;
use whatsapp_rust::store::traits::Backend;

use super::{
    backend::{Fence, Fenced},
    files::{self, Open},
    keys::KeyStore,
};
use crate::{
    bus::{self, Bus, Lease},
    config::{self, KeysHome},
    model::SessionId,
    tasks::Tasks,
};

/// Where the keys of sessions are.
pub(super) enum Storage {
    Files { folder: PathBuf, open: Open },
    JetStream(Box<Bus>),
}

/// The keys of one session: what its client writes to, and what the session sees of it.
pub(super) struct Opened {
    pub(super) backend: Fenced,
    pub(super) keys: OpenKeys,
}

/// The session's hold on its keys. Files need none.
#[derive(Default)]
pub(super) struct OpenKeys(Option<KeyStore>);

/// Also when the session panics: its client may live on and hold the store.
impl Drop for OpenKeys {
    fn drop(&mut self) {
        if let Some(store) = &self.0 {
            store.end();
        }
    }
}

impl OpenKeys {
    /// Returns once the keys cannot be written any more.
    pub(super) async fn lost(&self) -> Option<&bus::Error> {
        match &self.0 {
            Some(store) => store.ended().await,
            None => std::future::pending().await,
        }
    }

    /// The number of the last record of the session's log.
    pub(super) fn number(&self) -> Option<u64> {
        self.0.as_ref().map(KeyStore::number)
    }

    /// Nothing is written after this.
    pub(super) async fn close(&self) {
        if let Some(store) = &self.0 {
            store.close().await;
        }
    }
}

impl Storage {
    pub(super) fn new(bus: &Bus, settings: &config::WhatsApp, open: Open) -> Self {
        match settings.keys {
            KeysHome::JetStream => Self::JetStream(Box::new(bus.clone())),
            KeysHome::Files => Self::Files {
                folder: settings.sessions_dir.clone(),
                open,
            },
        }
    }

    /// The folder of all sessions, if there is one.
    pub(super) fn folder(&self) -> Option<&std::path::Path> {
        match self {
            Self::Files { folder, .. } => Some(folder),
            Self::JetStream(_) => None,
        }
    }

    /// Opens a session's keys for the holder of its lease. `known` is the number of the last record
    /// that they are known to have.
    ///
    /// # Errors
    /// When another has them, or they cannot be read.
    pub(super) async fn open(
        &self,
        session: SessionId,
        lease: &Lease,
        known: Option<u64>,
        tasks: &Tasks,
    ) -> anyhow::Result<Opened> {
        match self {
            Self::Files { folder, open } => {
                let epoch = files::epoch(folder, session);
                let fence = Fence::claim(epoch, lease.epoch()).context("claiming the files")?;
                let store = (open)(files::database(folder, session)).await?;
                Ok(Opened {
                    backend: Fenced::new(store, Some(fence)),
                    keys: OpenKeys::default(),
                })
            }
            Self::JetStream(bus) => {
                let known = known.unwrap_or_default();
                let (log, tables) = bus
                    .take_over_keys(session, lease.epoch(), known)
                    .await
                    .context("taking over the session's keys")?;
                let store = KeyStore::start(log, tables, tasks);
                let backend: Arc<dyn Backend> = Arc::new(store.clone());
                Ok(Opened {
                    // The log is a fence itself.
                    backend: Fenced::new(backend, None),
                    keys: OpenKeys(Some(store)),
                })
            }
        }
    }

    /// Whether a session has keys, as far as that can be told.
    pub(super) async fn has_keys(&self, session: SessionId) -> bool {
        match self {
            Self::Files { folder, .. } => files::database(folder, session).exists(),
            Self::JetStream(bus) => {
                let keys = bus.read_keys(session).await;
                keys.map_or(true, |tables| !tables.is_empty())
            }
        }
    }

    /// Erases a session's keys. No client may run on them.
    ///
    /// # Errors
    /// When that fails, or another has them.
    pub(super) async fn erase(&self, session: SessionId, lease: &Lease) -> anyhow::Result<()> {
        match self {
            Self::Files { folder, .. } => files::erase(folder, session),
            Self::JetStream(bus) => bus
                .erase_keys(session, lease.epoch())
                .await
                .context("erasing the session's keys"),
        }
    }
}
