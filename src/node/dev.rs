//! The `nats-server` child of `wahook dev`.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    fs,
    net::TcpStream,
    process::{Child, Command},
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use url::Url;

use crate::{
    config::Config,
    tasks::{TaskKind, Tasks},
};

const CONFIG: &str = include_str!("../../nats/dev.conf");
/// How long the server may take to start, and to stop.
const SERVER_TIMEOUT: Duration = Duration::from_secs(15);
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// A supervised server: started again when it dies, stopped with the node.
pub(super) struct NatsServer {
    cancel: CancellationToken,
    supervisor: JoinHandle<()>,
}

/// What is needed to start it, as often as it takes.
struct Launch {
    binary: PathBuf,
    folder: PathBuf,
    host: String,
    port: u16,
}

impl NatsServer {
    /// Starts the server on the host and port of `nats.url`, its data below `node.data_dir`.
    pub(super) async fn start(config: &Config, tasks: &Tasks) -> anyhow::Result<Self> {
        if config.nats.servers().count() > 1 {
            bail!("nats.url lists several servers, and `wahook dev` starts one: name that one");
        }
        let url = Url::parse(&config.nats.url).context("reading nats.url")?;
        let folder = config.node.data_dir.join("nats");
        fs::create_dir_all(&folder)
            .await
            .with_context(|| format!("creating {}", folder.display()))?;
        let launch = Launch {
            binary: find_binary()?,
            folder,
            host: url.host_str().unwrap_or("127.0.0.1").to_owned(),
            port: url.port().unwrap_or(4222),
        };
        launch.stop_left_over().await;
        if launch.answers().await {
            bail!(
                "something answers at {}:{} already; stop it, set nats.url to a free port, or run \
                 `wahook serve` against it",
                launch.host,
                launch.port
            );
        }
        fs::write(launch.config_file(), CONFIG)
            .await
            .context("writing the server's settings")?;
        let mut child = launch.spawn()?;
        launch.wait_until_up(&mut child).await?;
        tracing::info!(port = launch.port, binary = %launch.binary.display(), "nats-server is up");

        let cancel = CancellationToken::new();
        // Not among those that a drain waits for: the node needs its server to the end.
        let supervised = supervise(launch, child, cancel.clone());
        let supervisor = tasks.group().run(TaskKind::NatsServer, &cancel, supervised);
        Ok(Self { cancel, supervisor })
    }

    /// Lets the server write everything out and end.
    pub(super) async fn stop(self) {
        self.cancel.cancel();
        if self.supervisor.await.is_err() {
            tracing::error!("the task that watches nats-server panicked");
        }
    }
}

async fn supervise(launch: Launch, mut child: Child, cancel: CancellationToken) {
    loop {
        tokio::select! {
            () = cancel.cancelled() => return launch.stop(child).await,
            status = child.wait() => tracing::error!(?status, "nats-server ended; starting it \
                again"),
        }
        loop {
            sleep(RESTART_PAUSE).await;
            match launch.spawn() {
                Ok(next) => break child = next,
                Err(error) => tracing::error!(%error, "nats-server does not start"),
            }
            if cancel.is_cancelled() {
                return;
            }
        }
    }
}

impl Launch {
    fn config_file(&self) -> PathBuf {
        self.folder.join("dev.conf")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("nats-server.pid")
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let log = std::fs::File::create(self.folder.join("nats-server.log"))
            .context("creating the server's log")?;
        Command::new(&self.binary)
            .arg("--config")
            .arg(self.config_file())
            .arg("--store_dir")
            .arg(&self.folder)
            .arg("--pid")
            .arg(self.pid_file())
            .args(["--addr", &self.host, "--port", &self.port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .kill_on_drop(true)
            // Its own group: Ctrl-C in the terminal must reach wahook alone, which drains first and
            // then stops it.
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", self.binary.display()))
    }

    async fn answers(&self) -> bool {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        matches!(timeout(Duration::from_secs(1), connect).await, Ok(Ok(_)))
    }

    async fn wait_until_up(&self, child: &mut Child) -> anyhow::Result<()> {
        let poll = async {
            loop {
                if let Some(status) = child.try_wait()? {
                    bail!(
                        "nats-server ended with {status}: see {}",
                        self.folder.join("nats-server.log").display()
                    );
                }
                if self.answers().await {
                    return Ok(());
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SERVER_TIMEOUT, poll)
            .await
            .context("nats-server did not answer in time")?
    }

    /// Asks the child to stop, so that it writes its state; kills it if it does not end in time.
    async fn stop(&self, mut child: Child) {
        if let Some(pid) = child.id() {
            self.signal(pid).await;
        }
        if timeout(SERVER_TIMEOUT, child.wait()).await.is_err() {
            tracing::error!("nats-server did not end in time; killing it");
            let _ = child.kill().await;
        }
        let _ = fs::remove_file(self.pid_file()).await;
    }

    async fn signal(&self, pid: u32) {
        let mut command = Command::new(&self.binary);
        command
            .arg("--signal")
            .arg(format!("stop={pid}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let _ = timeout(SERVER_TIMEOUT, command.status()).await;
    }

    /// A node that was killed leaves its server running. It is ours when its command line names our
    /// settings file.
    async fn stop_left_over(&self) {
        let Ok(text) = fs::read_to_string(self.pid_file()).await else {
            return;
        };
        let Ok(pid) = text.trim().parse::<u32>() else {
            return;
        };
        if !is_ours(pid, &self.config_file()).await {
            return;
        }
        tracing::warn!(
            pid,
            "stopping the nats-server that an earlier run left behind"
        );
        self.signal(pid).await;
        let gone = async {
            // A process that ends has no command line any more while its port is still open.
            while is_ours(pid, &self.config_file()).await || self.answers().await {
                sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = timeout(SERVER_TIMEOUT, gone).await;
    }
}

async fn is_ours(pid: u32, config_file: &Path) -> bool {
    let line = fs::read(format!("/proc/{pid}/cmdline"))
        .await
        .unwrap_or_default();
    String::from_utf8_lossy(&line)
        .split('\0')
        .any(|word| Path::new(word) == config_file)
}

/// `NATS_SERVER_BIN`, then what `make` installed, then the PATH.
fn find_binary() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("NATS_SERVER_BIN") {
        return Ok(path.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(PathBuf::from(".tools/bin")).chain(std::env::split_paths(&path));
    folders
        .map(|folder| folder.join("nats-server"))
        .find(|file| file.is_file())
        .context(
            "no nats-server found: run `make nats`, put version 2.12 or later on the PATH, \
            or set NATS_SERVER_BIN",
        )
}
