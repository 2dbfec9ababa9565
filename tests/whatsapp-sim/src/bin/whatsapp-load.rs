//! Many WhatsApp sessions in one `wahook serve --roles ingest`: memory per session, and messages
//! per second from WhatsApp to the stream. Everything runs on this machine and shares it.

#[path = "../../../it/support/ports.rs"]
mod ports;

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use serde_json::{Value, json};
use tokio::{
    process::{Child, Command},
    time::{Instant, sleep, timeout},
};
use whatsapp_sim::{Contact, Device, Server, content};

const STEP_MAX: Duration = Duration::from_secs(60);
/// Long enough for what a connect sets off to be over.
const SETTLE: Duration = Duration::from_secs(10);

#[derive(Parser)]
struct Cli {
    /// Sessions in one process.
    #[arg(long, default_value_t = 200)]
    sessions: u32,
    /// Messages to each of them.
    #[arg(long, default_value_t = 50)]
    messages: u32,
}

struct Lab {
    api: String,
    token: String,
    http: reqwest::Client,
    ingest: Child,
    _others: Vec<Child>,
    _data: tempfile::TempDir,
}

fn free_port() -> anyhow::Result<u16> {
    ports::free_port().context("no port for a server is free")
}

fn beside(name: &str) -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name(name);
    ensure!(
        path.is_file(),
        "{} is missing: `make bench-whatsapp` builds it",
        path.display()
    );
    Ok(path)
}

fn spawn(command: &mut Command) -> anyhow::Result<Child> {
    let program = command.as_std().get_program().to_owned();
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    command
        .spawn()
        .with_context(|| format!("starting {}", program.display()))
}

fn nats_server() -> PathBuf {
    let installed = Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../.tools/bin/nats-server"
    ))
    .to_owned();
    std::env::var_os("NATS_SERVER_BIN").map_or(installed, PathBuf::from)
}

/// The executable, with the settings of this run.
struct Wahook {
    program: PathBuf,
    env: Vec<(String, String)>,
}

impl Wahook {
    async fn run(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let output = Command::new(&self.program)
            .args(arguments)
            .envs(self.env.clone())
            .output()
            .await?;
        ensure!(
            output.status.success(),
            "wahook {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    fn serve(&self, roles: &str) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.program);
        command.args(["serve", "--roles", roles]);
        spawn(command.envs(self.env.clone()))
    }
}

fn environment(
    server: &Server,
    data: &Path,
    nats_port: u16,
    api_port: u16,
) -> Vec<(String, String)> {
    let path = |name: &str| data.join(name).display().to_string();
    let settings = [
        ("NATS__URL", format!("nats://127.0.0.1:{nats_port}")),
        ("API__LISTEN", format!("127.0.0.1:{api_port}")),
        ("ADMIN__LISTEN", "127.0.0.1:0".to_owned()),
        ("STORE__PATH", path("hooks.db")),
        ("WHATSAPP__SESSIONS_DIR", path("sessions")),
        ("WHATSAPP__URL", server.url()),
        ("WHATSAPP__VERSION", "2.3000.1023223821".to_owned()),
        ("WHATSAPP__CONNECTS_PER_SECOND", "1000".to_owned()),
        ("LOG__FILTER", "warn".to_owned()),
    ];
    settings
        .into_iter()
        .map(|(key, value)| (format!("WAHOOK__{key}"), value))
        .collect()
}

impl Lab {
    async fn start(server: &Server) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let nats_port = free_port()?;
        let api_port = free_port()?;
        let nats = spawn(
            Command::new(nats_server())
                .arg("--config")
                .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../../nats/dev.conf"))
                .arg("--store_dir")
                .arg(data.path().join("nats"))
                .args(["--addr", "127.0.0.1", "--port", &nats_port.to_string()]),
        )?;
        let wahook = Wahook {
            program: beside("wahook")?,
            env: environment(server, data.path(), nats_port, api_port),
        };
        let deadline = Instant::now() + STEP_MAX;
        while wahook.run(&["bus", "apply"]).await.is_err() {
            ensure!(Instant::now() < deadline, "nats-server did not answer");
            sleep(Duration::from_millis(100)).await;
        }
        let token = wahook.run(&["token", "create", "--client", "1"]).await?;
        let api = wahook.serve("api")?;
        let ingest = wahook.serve("ingest")?;
        let token = token.lines().last().unwrap_or_default().to_owned();
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(STEP_MAX)
            .build()?;
        let api_url = format!("http://127.0.0.1:{api_port}");
        Ok(Self {
            api: api_url,
            token,
            http,
            ingest,
            _others: vec![nats, api],
            _data: data,
        })
    }

    async fn call(&self, method: &str, path: &str) -> anyhow::Result<String> {
        let deadline = Instant::now() + STEP_MAX;
        loop {
            let request = self
                .http
                .request(method.parse()?, format!("{}{path}", self.api))
                .bearer_auth(&self.token);
            match request.json(&json!({})).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(answer.text().await?),
                Ok(answer) if Instant::now() >= deadline => {
                    bail!("{method} {path}: {}", answer.text().await?)
                }
                Err(error) if Instant::now() >= deadline => return Err(error.into()),
                _ => sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Resident bytes of the ingest process.
    fn rss_bytes(&self) -> anyhow::Result<u64> {
        let pid = self.ingest.id().context("ingest ended during the run")?;
        let statm = std::fs::read_to_string(format!("/proc/{pid}/statm"))?;
        let pages: u64 = statm
            .split_whitespace()
            .nth(1)
            .context("/proc/…/statm")?
            .parse()?;
        Ok(pages * 4096)
    }

    async fn link(&self, server: &Server, number: u32) -> anyhow::Result<Device> {
        let session: Value = serde_json::from_str(&self.call("POST", "/api/sessions").await?)?;
        let id = session["id"].as_str().context("an id")?;
        let code = self
            .call("GET", &format!("/api/sessions/{id}/qr?format=raw"))
            .await?;
        let device = server
            .phone(&format!("4917{number:08}"))
            .scan(&code)
            .await?;
        device.wait_online(1, STEP_MAX).await?;
        Ok(device)
    }
}

async fn burst(pairs: &[(Contact, Device)], messages: u32) -> anyhow::Result<Duration> {
    let began = Instant::now();
    for number in 0..messages {
        for (contact, device) in pairs {
            contact
                .send(device, content::text(&format!("message {number}")))
                .await?;
        }
    }
    for (_, device) in pairs {
        device.wait_idle(STEP_MAX * 5).await?;
    }
    Ok(began.elapsed())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    // Only loopback is called, but the client wants a TLS provider all the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let server = Server::start().await?;
    let lab = Lab::start(&server).await?;
    lab.call("GET", "/api/sessions").await?;
    sleep(Duration::from_secs(3)).await;
    let before = lab.rss_bytes()?;
    let began = Instant::now();
    let mut pairs = Vec::new();
    for number in 0..cli.sessions {
        let device = timeout(STEP_MAX, lab.link(&server, number))
            .await
            .context("linking took too long")??;
        pairs.push((server.contact(&format!("4918{number:08}"), "Ann"), device));
    }
    println!("sessions                  {:>10}", cli.sessions);
    println!(
        "linked one after other    {:>10.1} s",
        began.elapsed().as_secs_f64()
    );
    sleep(SETTLE).await;
    let idle = lab.rss_bytes()?;
    println!(
        "memory without sessions   {:>10.1} MiB (ingest)",
        mib(before)
    );
    println!("memory with all, idle     {:>10.1} MiB (ingest)", mib(idle));
    println!(
        "memory per idle session   {:>10.2} MiB",
        mib(idle.saturating_sub(before)) / f64::from(cli.sessions)
    );
    let warm = burst(&pairs, 1).await?;
    let took = burst(&pairs, cli.messages).await?;
    let all = f64::from(cli.sessions * cli.messages);
    println!("first message of each     {:>10.2} s", warm.as_secs_f64());
    println!(
        "WhatsApp to stream        {:>10.0} messages/s, acknowledged ({all} messages)",
        all / took.as_secs_f64()
    );
    println!(
        "memory after the burst    {:>10.1} MiB (ingest)",
        mib(lab.rss_bytes()?)
    );
    Ok(())
}
