//! Processes that a run starts and ends by their ids: a `nats-server`, and the sink.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::LazyLock,
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};
use wahook::{bus::Bus, config};

use crate::ports;

/// How long a process may take to start and answer.
pub(crate) const START_MAX: Duration = Duration::from_secs(60);

pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    let program = command.as_std().get_program().to_owned();
    command.stderr(Stdio::inherit()).kill_on_drop(true);
    command
        .spawn()
        .with_context(|| format!("starting {}", program.display()))
}

/// A `nats-server` with the settings of `nats/dev.conf`, which can be killed and started again on
/// the same data.
pub(crate) struct Nats {
    pub(crate) port: u16,
    folder: PathBuf,
    child: Child,
}

impl Nats {
    pub(crate) fn start(folder: &Path) -> anyhow::Result<Self> {
        let port = free_port()?;
        let folder = folder.to_owned();
        Ok(Self {
            port,
            child: Self::launch(port, &folder)?,
            folder,
        })
    }

    fn launch(port: u16, folder: &Path) -> anyhow::Result<Child> {
        spawn(
            Command::new(nats_server()?)
                .arg("--config")
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../nats/dev.conf"))
                .arg("--store_dir")
                .arg(folder.join("nats"))
                .arg("--log")
                .arg(folder.join("nats.log"))
                .args(["--addr", "127.0.0.1", "--port", &port.to_string()])
                .stdin(Stdio::null()),
        )
    }

    /// SIGKILL, and a new process after a while.
    pub(crate) async fn restart(&mut self, away: Duration) -> anyhow::Result<()> {
        self.child.kill().await?;
        sleep(away).await;
        self.child = Self::launch(self.port, &self.folder)?;
        Ok(())
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("nats-server ended during the run")
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// The endpoints, in a process of their own.
pub(crate) struct Sink {
    pub(crate) port: u16,
    child: Child,
}

impl Sink {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut child = spawn(
            Command::new(std::env::current_exe()?)
                .arg("sink")
                .stdin(Stdio::null())
                .stdout(Stdio::piped()),
        )?;
        let mut lines = BufReader::new(child.stdout.take().context("the sink's output")?).lines();
        let port = timeout(START_MAX, lines.next_line())
            .await??
            .context("the sink ended")?;
        Ok(Self {
            port: port.trim().parse()?,
            child,
        })
    }

    pub(crate) fn id(&self) -> anyhow::Result<u32> {
        self.child.id().context("the sink ended during the run")
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Once the server answers.
pub(crate) async fn connect(config: &config::Config) -> anyhow::Result<Bus> {
    let attempts = async {
        loop {
            match Bus::connect(&config.nats, &config.bus, "wahook-bench").await {
                Ok(bus) => return bus,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(START_MAX, attempts)
        .await
        .context("nats-server did not answer")
}

/// One for all: it keeps its connections.
pub(crate) fn http_client() -> reqwest::Client {
    static CLIENT: LazyLock<reqwest::Client> = LazyLock::new(|| {
        // Only loopback is called, but the client wants a TLS provider all the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client without TLS of its own")
    });
    CLIENT.clone()
}

/// A port for a server of another process.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    ports::free_port().context("no port for a server is free")
}

pub(crate) fn nats_server() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("NATS_SERVER_BIN") {
        return Ok(path.into());
    }
    let path = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../.tools/bin/nats-server"
    ));
    if !path.is_file() {
        bail!("no nats-server: run `make nats` or set NATS_SERVER_BIN");
    }
    Ok(path.to_owned())
}
