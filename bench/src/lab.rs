//! The processes of a run, each with its own id, all ended by it.

use std::{
    net::TcpListener as StdListener,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::{sleep, timeout},
};
use wahook::{bus::Bus, config, wire::Keyring};

const PATIENCE: Duration = Duration::from_secs(30);

/// A `nats-server`, a `wahook serve --roles api,deliver,record` and a sink.
pub(crate) struct Lab {
    pub(crate) bus: Bus,
    pub(crate) sink_port: u16,
    /// The admin API.
    pub(crate) api: String,
    wahook: Child,
    others: Vec<Child>,
    _data: TempDir,
}

impl Lab {
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let (nats_port, admin_port, api_port) = (free_port()?, free_port()?, free_port()?);
        let nats = spawn(
            Command::new(nats_server()?)
                .arg("--config")
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../nats/dev.conf"))
                .arg("--store_dir")
                .arg(data.path().join("nats"))
                .args(["--addr", "127.0.0.1", "--port", &nats_port.to_string()]),
        )?;
        let mut sink = spawn(Command::new(std::env::current_exe()?).arg("sink").stdout(Stdio::piped()))?;
        let mut lines = BufReader::new(sink.stdout.take().context("the sink's output")?).lines();
        let port = timeout(PATIENCE, lines.next_line()).await??.context("the sink ended")?;

        let settings = [
            ("NATS__URL", format!("nats://127.0.0.1:{nats_port}")),
            ("API__LISTEN", format!("127.0.0.1:{api_port}")),
            ("ADMIN__LISTEN", format!("127.0.0.1:{admin_port}")),
            ("STORE__PATH", data.path().join("hooks.db").display().to_string()),
            ("EGRESS__ALLOW_HTTP", "true".to_owned()),
            ("EGRESS__ALLOW_CIDRS", "127.0.0.0/8".to_owned()),
            ("LOG__FILTER", "warn".to_owned()),
        ];
        let env: Vec<_> = settings.iter().map(|(key, value)| (format!("WAHOOK__{key}"), value.clone())).collect();
        let sources = config::Sources { file: None, env: env.clone(), flags: Vec::new() };
        let loaded = config::load(&sources).map_err(|errors| anyhow::anyhow!("{errors}"))?;
        let bus = connect(&loaded.config).await?;
        bus.apply().await?;
        let keys = data.path().join("secrets.keys");
        let line = Keyring::new_line("lab")?;
        std::fs::write(&keys, &line)?;
        bus.start_registry(Keyring::parse(&line)?).await?;

        let mut command = Command::new(wahook_binary()?);
        command.args(["serve", "--roles", "api,deliver,record"]).envs(env).env("WAHOOK__SECRETS__KEYS_FILE", keys);
        let wahook = spawn(&mut command)?;
        wait_ready(admin_port).await?;
        let api = format!("http://127.0.0.1:{api_port}");
        Ok(Self { bus, sink_port: port.trim().parse()?, api, wahook, others: vec![nats, sink], _data: data })
    }

    /// Processor time and resident bytes of the wahook process so far.
    pub(crate) fn usage(&self) -> anyhow::Result<(Duration, u64)> {
        let pid = self.wahook.id().context("wahook ended during the run")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let fields: Vec<&str> = stat.rsplit_once(')').context("/proc/…/stat")?.1.split_whitespace().collect();
        // proc(5): utime and stime are fields 14 and 15, rss is field 24; the first two were cut off.
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        let pages: u64 = fields[21].parse()?;
        Ok((Duration::from_millis(ticks * 10), pages * 4096))
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.wahook.kill().await?;
        for mut child in self.others.drain(..) {
            child.kill().await?;
        }
        Ok(())
    }
}

pub(crate) fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    let program = command.as_std().get_program().to_owned();
    command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    command.spawn().with_context(|| format!("starting {}", program.display()))
}

pub(crate) async fn connect(config: &config::Config) -> anyhow::Result<Bus> {
    let attempts = async {
        loop {
            match Bus::connect(&config.nats, &config.bus, "wahook-bench").await {
                Ok(bus) => return bus,
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(PATIENCE, attempts).await.context("nats-server did not answer")
}

async fn wait_ready(port: u16) -> anyhow::Result<()> {
    let client = http_client()?;
    let url = format!("http://127.0.0.1:{port}/readyz");
    let ready = async {
        while !client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, ready).await.context("wahook did not become ready")
}

pub(crate) fn http_client() -> anyhow::Result<reqwest::Client> {
    // Only loopback is called, but the client wants a TLS provider all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Ok(reqwest::Client::builder().no_proxy().build()?)
}

pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(StdListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Built beside this program, in the same profile.
fn wahook_binary() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("wahook");
    ensure!(path.is_file(), "{} is missing: `make bench` builds it", path.display());
    Ok(path)
}

pub(crate) fn nats_server() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("NATS_SERVER_BIN") {
        return Ok(path.into());
    }
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.tools/bin/nats-server"));
    if !path.is_file() {
        bail!("no nats-server: run `make nats` or set NATS_SERVER_BIN");
    }
    Ok(path.to_owned())
}
