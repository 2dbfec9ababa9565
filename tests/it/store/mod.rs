//! The homes of the audit: what all of them must do, and what each does in its own way.

mod commands;
mod contract;
mod faults;
mod migrate;
mod outage;
mod sqlite_file;
#[cfg(feature = "cql-tls")]
mod tls;

use std::sync::Arc;

use tempfile::TempDir;
use wahook::{
    config::Config,
    store::{self, Store},
    tasks::Tasks,
};

use crate::support::cassandra;

/// One home with nothing in it.
struct Home {
    store: Arc<dyn Store>,
    config: Config,
    _folder: Option<TempDir>,
}

impl Home {
    async fn open(config: Config, folder: Option<TempDir>) -> Self {
        let store = store::open(&config.store, &config.cql, &Tasks::default())
            .await
            .expect("opens");
        Self {
            store,
            config,
            _folder: folder,
        }
    }

    /// Another opening of the same home.
    async fn reopen(&self) -> Arc<dyn Store> {
        store::open(&self.config.store, &self.config.cql, &Tasks::default())
            .await
            .expect("opens again")
    }
}

async fn sqlite() -> Option<Home> {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config::default();
    config.store.path = folder.path().join("deep/hooks.db");
    Some(Home::open(config, Some(folder)).await)
}

async fn cql() -> Option<Home> {
    let keyspace = cassandra::migrated().await?;
    Some(Home::open(keyspace.config(), None).await)
}
