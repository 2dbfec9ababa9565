//! A real nats-server of this test's own.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    net::TcpStream,
    process::{Child, Command},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use wahook::{
    bus::{Bus, Work},
    config::{self, Config},
    tasks::Tasks,
    wire::Keyring,
};

use super::{
    app::{WAIT_MAX, eventually},
    cluster::Cluster,
    process::free_port,
};

/// Takes the one message that waits and gives it back until it is handed out no more.
pub(crate) async fn wear_out(bus: &Bus, work: Work, partition: u16) {
    let cancel = CancellationToken::new();
    let mut pull = bus.pull(work, partition, cancel.clone());
    for _ in 0..10 {
        timeout(WAIT_MAX, pull.next())
            .await
            .expect("in time")
            .expect("a message")
            .nak(None)
            .await;
    }
    // The eleventh time is when the server notices.
    let eleventh = timeout(Duration::from_secs(1), pull.next()).await;
    assert!(eleventh.is_err(), "ten times and no more");
    cancel.cancel();
    pull.next().await;
}

/// The server; killed by its id when dropped. Or three of them, that tests talk to as an operator
/// does.
pub(crate) struct NatsServer {
    port: u16,
    folder: TempDir,
    process: Option<Child>,
    more: Vec<String>,
    pub(crate) cluster: Option<Cluster>,
    /// What its secrets are sealed with.
    key: String,
    /// Where a node that runs on it has made its keys.
    pub(crate) keys_file: Option<PathBuf>,
}

/// `NATS_SERVER_BIN`, what `make nats` installed, or the PATH: without any the tests fail, they are
/// not skipped.
pub(crate) fn binary() -> PathBuf {
    if let Some(path) = std::env::var_os("NATS_SERVER_BIN") {
        return path.into();
    }
    let installed = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/nats-server");
    if installed.is_file() {
        installed
    } else {
        "nats-server".into()
    }
}

fn spawn(port: u16, folder: &Path, more: &[String]) -> Child {
    let mut command = Command::new(binary());
    command
        .arg("--config")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("nats/dev.conf"))
        .arg("--store_dir")
        .arg(folder)
        .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
        .args(more);
    start(command)
}

/// Starts nats-server; it ends with the handle.
pub(crate) fn start(mut command: Command) -> Child {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("nats-server starts: run `make nats`, or set NATS_SERVER_BIN")
}

impl NatsServer {
    pub(crate) async fn start() -> Self {
        Self::with(Vec::new()).await
    }

    /// With these arguments beside the usual ones.
    pub(crate) async fn with(more: Vec<String>) -> Self {
        let port = free_port();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let process = spawn(port, folder.path(), &more);
        let key = Keyring::new_line("test").expect("an id");
        let server = Self {
            port,
            folder,
            process: Some(process),
            more,
            cluster: None,
            key,
            keys_file: None,
        };
        server.wait().await;
        server
    }

    /// Three of them.
    pub(crate) async fn cluster() -> Self {
        let server = Self {
            port: 0,
            folder: tempfile::tempdir().expect("a temporary folder"),
            process: None,
            more: Vec::new(),
            cluster: Some(Cluster::start().await),
            key: Keyring::new_line("test").expect("an id"),
            keys_file: None,
        };
        eventually("the servers have elected a leader", async || {
            server.jetstream().await.query_account().await.ok()
        })
        .await;
        server
    }

    /// The settings by which a process with these roles gets in.
    pub(crate) fn login(&self, roles: &str) -> Vec<(&'static str, String)> {
        let cluster = self.cluster.as_ref();
        cluster.map_or_else(Vec::new, |cluster| cluster.login(roles).into())
    }

    /// With this configuration instead of `nats/dev.conf`.
    pub(crate) async fn configured(configuration: &str) -> (Self, TempDir) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("server.conf");
        std::fs::write(&file, configuration).expect("a writable folder");
        // Of two files the last one counts.
        let arguments = vec!["--config".to_owned(), file.display().to_string()];
        (Self::with(arguments).await, folder)
    }

    async fn wait(&self) {
        eventually("nats-server answers", async || {
            TcpStream::connect(("127.0.0.1", self.port)).await.ok()
        })
        .await;
    }

    /// SIGKILL, and a new process on the same data.
    pub(crate) async fn kill_and_restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// SIGKILL.
    pub(crate) async fn stop(&mut self) {
        let process = self.process.as_mut().expect("one server");
        process.kill().await.expect("the server runs");
    }

    /// A new process on the same data.
    pub(crate) async fn start_again(&mut self) {
        self.process = Some(spawn(self.port, self.folder.path(), &self.more));
        self.wait().await;
    }

    /// Sends a signal by its name.
    pub(crate) async fn signal(&self, name: &str) {
        let process = self.process.as_ref().expect("the server runs");
        let pid = process.id().expect("the server runs").to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .await;
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        match &self.cluster {
            Some(cluster) => cluster.url(),
            None => format!("nats://127.0.0.1:{}", self.port),
        }
    }

    /// The defaults, with this server.
    pub(crate) fn config(&self) -> Config {
        let mut flags = vec![("nats.url".to_owned(), self.url())];
        let login = self.login("operator").into_iter();
        flags.extend(login.map(|(key, value)| (key.to_lowercase().replace("__", "."), value)));
        let sources = config::Sources {
            flags,
            ..config::Sources::default()
        };
        config::load(&sources)
            .expect("the defaults are right")
            .config
    }

    /// A connection of the library's, before anything is declared.
    pub(crate) async fn connect(&self) -> Bus {
        self.connect_with(&self.config()).await
    }

    /// The same with these settings.
    pub(crate) async fn connect_with(&self, config: &Config) -> Bus {
        eventually("the server takes clients", async || {
            Bus::connect(&config.nats, &config.bus, "test").await.ok()
        })
        .await
    }

    /// The same with everything declared and the webhooks loaded.
    pub(crate) async fn bus(&self) -> Bus {
        let bus = self.connect().await;
        bus.apply().await.expect("applies");
        self.load(bus).await
    }

    /// The same connection with the webhooks loaded.
    pub(crate) async fn load(&self, bus: Bus) -> Bus {
        let made = self
            .keys_file
            .as_ref()
            .map(|file| std::fs::read_to_string(file).expect("a node has made it"));
        let keys = Keyring::parse(&made.unwrap_or_else(|| self.key.clone())).expect("a key");
        bus.load_webhooks(keys, &Tasks::default())
            .await
            .expect("loads");
        bus
    }

    /// A client of no room's, for looking into streams as an operator would.
    pub(crate) async fn jetstream(&self) -> async_nats::jetstream::Context {
        let client = match &self.cluster {
            Some(cluster) => cluster.connect(cluster.options("operator")).await,
            None => async_nats::connect(self.url()).await.expect("connects"),
        };
        async_nats::jetstream::new(client)
    }

    /// How many messages a stream holds.
    pub(crate) async fn messages(&self, stream: &str) -> u64 {
        self.state(stream, "messages").await
    }

    /// How many bytes it holds.
    pub(crate) async fn bytes(&self, stream: &str) -> u64 {
        self.state(stream, "bytes").await
    }

    /// How many consumers it has.
    pub(crate) async fn consumers(&self, stream: &str) -> u64 {
        self.state(stream, "consumer_count").await
    }

    /// Of a cluster it may be electing a leader, and then answers later.
    async fn state(&self, stream: &str, field: &str) -> u64 {
        let context = self.jetstream().await;
        super::app::eventually("the stream answers", async || {
            let subject = format!("STREAM.INFO.{stream}");
            let info: Value = context.request(subject, &()).await.ok()?;
            info["state"][field].as_u64()
        })
        .await
    }
}
