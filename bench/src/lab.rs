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

const PATIENCE: Duration = Duration::from_secs(60);

/// A `nats-server`, a sink, and one or more `wahook serve`.
pub(crate) struct Lab {
    pub(crate) bus: Bus,
    pub(crate) sink_port: u16,
    /// The admin API, where a process plays that role.
    pub(crate) api: String,
    env: Vec<(String, String)>,
    nodes: Vec<Child>,
    others: Vec<Child>,
    _data: TempDir,
}

impl Lab {
    /// With one process that delivers, records and has the API.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut lab = Self::prepare().await?;
        lab.launch("api,deliver,record").await?;
        Ok(lab)
    }

    /// Without any wahook process yet.
    pub(crate) async fn prepare() -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let (nats_port, api_port) = (free_port()?, free_port()?);
        let nats = spawn(
            Command::new(nats_server()?)
                .arg("--config")
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../nats/dev.conf"))
                .arg("--store_dir")
                .arg(data.path().join("nats"))
                .arg("--log")
                .arg(data.path().join("nats.log"))
                .args(["--addr", "127.0.0.1", "--port", &nats_port.to_string()]),
        )?;
        let mut sink = spawn(Command::new(std::env::current_exe()?).arg("sink").stdout(Stdio::piped()))?;
        let mut lines = BufReader::new(sink.stdout.take().context("the sink's output")?).lines();
        let port = timeout(PATIENCE, lines.next_line()).await??.context("the sink ended")?;

        let settings = [
            ("NATS__URL", format!("nats://127.0.0.1:{nats_port}")),
            ("API__LISTEN", format!("127.0.0.1:{api_port}")),
            ("STORE__PATH", data.path().join("hooks.db").display().to_string()),
            ("EGRESS__ALLOW_HTTP", "true".to_owned()),
            ("EGRESS__ALLOW_CIDRS", "127.0.0.0/8".to_owned()),
            ("LOG__FILTER", "warn".to_owned()),
        ];
        let mut env: Vec<_> = settings.iter().map(|(key, value)| (format!("WAHOOK__{key}"), value.clone())).collect();
        let sources = config::Sources { file: None, env: env.clone(), flags: Vec::new() };
        let loaded = config::load(&sources).map_err(|errors| anyhow::anyhow!("{errors}"))?;
        let bus = connect(&loaded.config).await?;
        bus.apply().await?;
        let keys = data.path().join("secrets.keys");
        let line = Keyring::new_line("lab")?;
        std::fs::write(&keys, &line)?;
        bus.start_registry(Keyring::parse(&line)?).await?;
        env.push(("WAHOOK__SECRETS__KEYS_FILE".to_owned(), keys.display().to_string()));
        let (others, nodes) = (vec![nats, sink], Vec::new());
        let (sink_port, api) = (port.trim().parse()?, format!("http://127.0.0.1:{api_port}"));
        Ok(Self { bus, sink_port, api, env, nodes, others, _data: data })
    }

    /// One setting more, for processes that are launched from now on: `("STORE__KIND", "cql")`.
    pub(crate) fn set(&mut self, key: &str, value: &str) {
        self.env.push((format!("WAHOOK__{key}"), value.to_owned()));
    }

    pub(crate) fn nats_url(&self) -> &str {
        let url = self.env.iter().find(|(key, _)| key == "WAHOOK__NATS__URL");
        url.map_or("", |(_, value)| value)
    }

    /// One more wahook process, once it is ready.
    pub(crate) async fn launch(&mut self, roles: &str) -> anyhow::Result<()> {
        let admin_port = free_port()?;
        let mut command = Command::new(wahook_binary()?);
        command.args(["serve", "--roles", roles, "--set", &format!("admin.listen=127.0.0.1:{admin_port}")]);
        self.nodes.push(spawn(command.envs(self.env.iter().cloned()))?);
        wait_ready(admin_port).await
    }

    /// Processor time and resident bytes of all wahook processes so far.
    pub(crate) fn usage(&self) -> anyhow::Result<(Duration, u64)> {
        let (mut cpu, mut bytes) = (Duration::ZERO, 0);
        for node in &self.nodes {
            let pid = node.id().context("wahook ended during the run")?;
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
            let fields: Vec<&str> = stat.rsplit_once(')').context("/proc/…/stat")?.1.split_whitespace().collect();
            // proc(5): utime and stime are fields 14 and 15, rss is field 24; the first two were cut off.
            let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
            cpu += Duration::from_millis(ticks * 10);
            bytes += fields[21].parse::<u64>()? * 4096;
        }
        Ok((cpu, bytes))
    }

    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        for mut child in self.nodes.drain(..).chain(self.others.drain(..)) {
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
