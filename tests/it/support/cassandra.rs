//! One Cassandra for all tests of this binary, and a keyspace for each that asks.

use std::{
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use tokio::sync::Mutex;
use uuid::Uuid;
use wahook::{
    config::{self, Config},
    store::Migrator,
};

use super::process::free_port;

static NODE: OnceLock<Option<Node>> = OnceLock::new();
/// Cassandra 5.0 spreads schema changes by gossip: two at once can clash.
static SCHEMA: Mutex<()> = Mutex::const_new(());

/// A node. Its script ends it when this process goes away, however it does: then the pipe closes.
pub(crate) struct Node {
    pub(crate) port: u16,
    _script: Child,
}

/// A keyspace of a test's own on a real Cassandra.
pub(crate) struct Keyspace {
    pub(crate) port: u16,
    pub(crate) name: String,
}

/// A keyspace without tables yet; `None`, loudly, where Cassandra cannot run.
///
/// # Panics
/// Where it cannot run although `CI` is set.
pub(crate) async fn keyspace() -> Option<Keyspace> {
    let start = || NODE.get_or_init(|| Node::start(None)).as_ref();
    let node = tokio::task::spawn_blocking(start).await.expect("starts")?;
    let name = format!("t_{}", &Uuid::now_v7().simple().to_string()[16..]);
    Some(Keyspace {
        port: node.port,
        name,
    })
}

/// The same with all tables.
pub(crate) async fn migrated() -> Option<Keyspace> {
    let keyspace = keyspace().await?;
    keyspace.migrate().await;
    Some(keyspace)
}

/// A node apart, with the settings in this file beside the usual ones.
#[cfg(feature = "cql-tls")]
pub(crate) async fn apart(more: std::path::PathBuf) -> Option<Node> {
    tokio::task::spawn_blocking(move || Node::start(Some(&more)))
        .await
        .expect("starts")
}

impl Node {
    fn start(more: Option<&Path>) -> Option<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let installed = std::fs::read_dir(root.join(".tools"))
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| {
                entry
                    .file_name()
                    .to_string_lossy()
                    .starts_with("cassandra-")
                    && entry.path().join("complete").exists()
            });
        if !installed {
            assert!(
                std::env::var_os("CI").is_none(),
                "no Cassandra in .tools: run `make cassandra`"
            );
            // Past the capturing of tests' output: this must be seen.
            let _ = writeln!(
                io::stderr(),
                "\n*** NO CASSANDRA IN .tools: TESTS OF THE CQL STORE DO NOTHING. `make \
                 cassandra` brings it.\n"
            );
            return None;
        }
        let ports = free_ports();
        let mut script = Command::new(root.join("scripts/run-cassandra.sh"))
            .args(ports.iter().map(u16::to_string))
            .envs(more.map(|file| ("CASSANDRA_MORE", file)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script starts");
        let mut said = String::new();
        let stdout = script.stdout.take().expect("piped above");
        BufReader::new(stdout)
            .read_line(&mut said)
            .expect("the script speaks");
        assert_eq!(said.trim(), "ready", "Cassandra did not start");
        Some(Self {
            port: ports[0],
            _script: script,
        })
    }
}

/// Different ones; free again once this returns.
fn free_ports() -> [u16; 3] {
    [(); 3].map(|()| free_port())
}

impl Keyspace {
    pub(crate) fn node(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The variables that name it, without their prefix.
    pub(crate) fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("STORE__KIND", "cql".to_owned()),
            ("CQL__NODES", self.node()),
            ("CQL__KEYSPACE", self.name.clone()),
            // One small node, shared by many tests on a busy machine.
            ("CQL__WRITE_TIMEOUT", "10s".to_owned()),
            ("CQL__READ_TIMEOUT", "10s".to_owned()),
        ]
    }

    pub(crate) fn config(&self) -> Config {
        self.config_with(&[])
    }

    /// The same with more settings: `("CQL__WRITE_TIMEOUT", "1s")`.
    pub(crate) fn config_with(&self, more: &[(&str, &str)]) -> Config {
        let own = self
            .settings()
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value));
        let all = own.chain(
            more.iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
        );
        let env = all
            .map(|(key, value)| (format!("WAHOOK__{key}"), value))
            .collect();
        Config::load(&config::Sources {
            env,
            ..config::Sources::default()
        })
        .expect("valid settings")
    }

    pub(crate) async fn migrator(&self, config: &Config) -> Migrator {
        Migrator::connect(&config.cql, config.store.retention)
            .await
            .expect("Cassandra answers")
    }

    /// Makes the keyspace and its tables.
    pub(crate) async fn migrate(&self) {
        self.migrate_as(&self.config()).await;
    }

    pub(crate) async fn migrate_as(&self, config: &Config) {
        let migrator = self.migrator(config).await;
        let _alone = SCHEMA.lock().await;
        for step in migrator.plan(Some(1)).await.expect("a plan") {
            migrator.apply(&step).await.expect("applies");
        }
    }
}
