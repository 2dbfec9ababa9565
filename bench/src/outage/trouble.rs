//! What makes the store fail.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use wahook::{
    config::{Config, Sources},
    store::Migrator,
};

use crate::store::Cassandra;

/// What makes the store fail.
pub(super) enum Trouble {
    Cql {
        node: Cassandra,
        gate: Gate,
    },
    Sqlite {
        file: PathBuf,
        lock: Option<rusqlite::Connection>,
    },
}

impl Trouble {
    pub(super) async fn prepare(kind: &str, file: PathBuf, data: &Path) -> anyhow::Result<Self> {
        if kind == "sqlite" {
            return Ok(Self::Sqlite { file, lock: None });
        }
        let node = Cassandra::start(data).await?;
        let mut gate = Gate::before(node.port)?;
        gate.open().await?;
        let trouble = Self::Cql { node, gate };
        let config = trouble.config()?;
        let migrator = Migrator::connect(&config.cql, config.store.retention).await?;
        for step in migrator.plan(Some(1)).await? {
            migrator.apply(&step).await?;
        }
        Ok(trouble)
    }

    /// What leads to the store through this.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Cql { gate, .. } => {
                vec![
                    ("STORE__KIND", "cql".to_owned()),
                    ("CQL__NODES", format!("127.0.0.1:{}", gate.port)),
                ]
            }
            Self::Sqlite { file, .. } => vec![("STORE__PATH", file.display().to_string())],
        }
    }

    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let env = self
            .settings()
            .into_iter()
            .map(|(key, value)| (format!("WAHOOK__{key}"), value))
            .collect();
        Ok(Config::load(&Sources {
            env,
            ..Sources::default()
        })?)
    }

    pub(super) async fn begin(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Cql { gate, .. } => gate.shut().await,
            Self::Sqlite { file, lock } => {
                let connection = rusqlite::Connection::open(file)?;
                connection.busy_timeout(Duration::from_secs(10))?;
                connection.execute_batch("BEGIN IMMEDIATE")?;
                *lock = Some(connection);
            }
        }
        Ok(())
    }

    pub(super) async fn end(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Cql { gate, .. } => gate.open().await?,
            // Closing it rolls back.
            Self::Sqlite { lock, .. } => *lock = None,
        }
        Ok(())
    }

    pub(super) async fn stop(self) -> anyhow::Result<()> {
        if let Self::Cql { node, .. } = self {
            node.stop().await?;
        }
        Ok(())
    }
}

/// Passes connections on while it is open; refuses them, and cuts those that there are, while it is
/// shut.
pub(super) struct Gate {
    port: u16,
    to: u16,
    running: Option<JoinHandle<()>>,
}

impl Gate {
    fn before(to: u16) -> anyhow::Result<Self> {
        Ok(Self {
            port: crate::process::free_port()?,
            to,
            running: None,
        })
    }

    async fn open(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await?;
        let to = self.to;
        self.running = Some(tokio::spawn(async move {
            // Dropped with this task, and all connections with it.
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut node = TcpStream::connect(("127.0.0.1", to)).await?;
                    client.set_nodelay(true)?;
                    node.set_nodelay(true)?;
                    tokio::io::copy_bidirectional(&mut client, &mut node).await
                });
            }
        }));
        Ok(())
    }

    async fn shut(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
    }
}
