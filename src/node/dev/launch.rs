//! How the nats-server of `wahook dev` is started and stopped.

use std::{
    fs::{OpenOptions, Permissions},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use tokio::{
    fs,
    net::TcpStream,
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use url::Url;

use super::{
    super::data_dir::{DataDir, create_private_folder, write_private},
    login::Login,
    port,
};
use crate::config::Config;

const CONFIG: &str = include_str!("../../../nats/dev.conf");
/// How long the server may take to start, and to stop.
const SERVER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long the port may stay open after the server of an earlier run was stopped or killed.
const PORT_TIMEOUT: Duration = Duration::from_secs(15);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// What is needed to start the server, also a second time.
pub(super) struct Launch {
    pub(super) binary: PathBuf,
    pub(super) port: u16,
    folder: PathBuf,
    host: String,
}

impl Launch {
    /// Writes the server's settings, with its login. Its data are below the folder.
    pub(super) fn prepare(config: &Config, data_dir: &DataDir) -> anyhow::Result<Self> {
        if config.nats.servers().count() > 1 {
            bail!("nats.url lists several servers, and `wahook dev` starts one: name that one");
        }
        let url = Url::parse(&config.nats.url).context("reading nats.url")?;
        let folder = data_dir.path().join("nats");
        create_private_folder(&folder)?;
        // An earlier version left it open to others.
        std::fs::set_permissions(&folder, Permissions::from_mode(0o700))
            .with_context(|| format!("closing {} to other users", folder.display()))?;
        let launch = Self {
            binary: find_binary()?,
            port: url.port().unwrap_or(4222),
            folder,
            host: url.host_str().unwrap_or("127.0.0.1").to_owned(),
        };
        let login = Login::find_or_create(&config.nats, &launch.folder)?;
        let settings = format!("{CONFIG}{}", login.to_server_settings()?);
        write_private(&launch.config_file(), &settings)?;
        Ok(launch)
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    fn config_file(&self) -> PathBuf {
        self.folder.join("dev.conf")
    }

    fn pid_file(&self) -> PathBuf {
        self.folder.join("nats-server.pid")
    }

    fn log_file(&self) -> PathBuf {
        self.folder.join("nats-server.log")
    }

    pub(super) fn spawn(&self) -> anyhow::Result<Child> {
        let log = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(self.log_file())
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

    pub(super) async fn wait_until_up(&self, child: &mut Child) -> anyhow::Result<()> {
        let poll = async {
            loop {
                if let Some(status) = child.try_wait()? {
                    bail!(
                        "nats-server ended with {status}: see {}",
                        self.log_file().display()
                    );
                }
                if self.answers().await {
                    return Ok(());
                }
                sleep(POLL_INTERVAL).await;
            }
        };
        timeout(SERVER_TIMEOUT, poll).await.with_context(|| {
            format!(
                "nats-server did not answer in time: see {}",
                self.log_file().display()
            )
        })?
    }

    /// Asks the child to stop, so that it writes its state; kills it if it does not end in time.
    pub(super) async fn stop(&self, mut child: Child) {
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

    /// Stops the server that a killed `wahook dev` of this folder left running, and waits until the
    /// port is free. No other process is ever ended.
    ///
    /// # Errors
    /// When another process has the port, or the port does not become free: says which process.
    pub(super) async fn free_the_port(&self) -> anyhow::Result<()> {
        let left_over = self.left_over_pid().await;
        if let Some(pid) = left_over {
            tracing::warn!(
                pid,
                "stopping the nats-server that an earlier run left behind"
            );
            self.signal(pid).await;
        }
        let deadline = Instant::now() + PORT_TIMEOUT;
        while self.answers().await {
            let listener = port::listener(self.port);
            let is_own = listener.as_ref().is_some_and(|listener| {
                listener.may_be_ending() || left_over.is_some_and(|pid| listener.is(pid))
            });
            if !is_own || Instant::now() > deadline {
                let by = listener.map_or("a process".to_owned(), |one| one.to_string());
                bail!(
                    "the port of nats.url, {}:{}, is in use by {by}: stop it, set nats.url to a \
                     free port, or run `wahook serve` against it",
                    self.host,
                    self.port
                );
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }

    /// The process of the pid file, if its command line names the settings file of this folder.
    async fn left_over_pid(&self) -> Option<u32> {
        let text = fs::read_to_string(self.pid_file()).await.ok()?;
        let pid = text.trim().parse().ok()?;
        names_file(pid, &self.config_file()).await.then_some(pid)
    }
}

/// Whether a word of the process's command line is the path of this file, seen from the process's
/// own folder.
async fn names_file(pid: u32, file: &Path) -> bool {
    let process = PathBuf::from(format!("/proc/{pid}"));
    // Only for a process of the same user.
    let Ok(folder) = fs::read_link(process.join("cwd")).await else {
        return false;
    };
    let line = fs::read(process.join("cmdline")).await.unwrap_or_default();
    String::from_utf8_lossy(&line)
        .split('\0')
        .filter(|word| word.ends_with(".conf"))
        .any(|word| {
            folder
                .join(word)
                .canonicalize()
                .is_ok_and(|path| path == file)
        })
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
