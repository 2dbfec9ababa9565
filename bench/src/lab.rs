//! wahook as whole processes, each with its own id, all ended by the run that started them.

use std::{
    fs::Permissions, os::unix::fs::PermissionsExt, path::PathBuf, process::Stdio, time::Duration,
};

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tokio::{
    process::{Child, Command},
    sync::OnceCell,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use wahook::{bus::Bus, config, tasks::Tasks, wire::Keyring};

use crate::{
    caller::Caller,
    process::{Nats, START_MAX, Sink, connect, free_port, http_client, nats_server, spawn},
    sink::number_of,
    system::{Plan, Sent, System, open_loop_until},
    usage::{Part, Role, Usage},
    webhooks::{self, Endpoint, client, message, phone},
};

/// The roles of a process that does everything but WhatsApp.
pub(crate) const ROLES: &str = "api,deliver,record";

/// A `nats-server`, a sink, and one or more `wahook serve`.
pub(crate) struct Lab {
    pub(crate) bus: Bus,
    pub(crate) sink: Sink,
    pub(crate) nats: Nats,
    /// The admin API, where a process plays that role.
    pub(crate) api: String,
    env: Vec<(String, String)>,
    nodes: Vec<Node>,
    caller: OnceCell<Caller>,
    _data: TempDir,
}

struct Node {
    child: Child,
    admin_port: u16,
}

impl Lab {
    /// With one process that delivers, records and has the API.
    pub(crate) async fn start() -> anyhow::Result<Self> {
        let mut lab = Self::prepare(&[]).await?;
        lab.launch(ROLES).await?;
        Ok(lab)
    }

    /// Without any wahook process yet. Settings are like `("DELIVER__TIMEOUT", "5s")`.
    pub(crate) async fn prepare(settings: &[(&str, String)]) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let api_port = free_port()?;
        let nats = Nats::start(data.path())?;
        let sink = Sink::start().await?;
        let own = [
            ("NATS__URL", nats.url()),
            ("API__LISTEN", format!("127.0.0.1:{api_port}")),
            (
                "STORE__PATH",
                data.path().join("hooks.db").display().to_string(),
            ),
            ("EGRESS__ALLOW_HTTP", "true".to_owned()),
            ("EGRESS__ALLOW_CIDRS", "127.0.0.0/8".to_owned()),
            ("LOG__FILTER", "warn".to_owned()),
        ];
        let all = own.iter().chain(settings);
        let mut env: Vec<_> = all
            .map(|(key, value)| (format!("WAHOOK__{key}"), value.clone()))
            .collect();
        let sources = config::Sources {
            file: None,
            env: env.clone(),
            flags: Vec::new(),
        };
        let loaded = config::load(&sources).map_err(|errors| anyhow::anyhow!("{errors}"))?;
        let bus = connect(&loaded.config).await?;
        bus.apply().await?;
        let keys = data.path().join("secrets.keys");
        let line = Keyring::new_line("lab")?;
        std::fs::write(&keys, &line)?;
        // A node refuses a file that others can read.
        std::fs::set_permissions(&keys, Permissions::from_mode(0o600))?;
        bus.load_webhooks(Keyring::parse(&line)?, &Tasks::default())
            .await?;
        env.push((
            "WAHOOK__SECRETS__KEYS_FILE".to_owned(),
            keys.display().to_string(),
        ));
        let api = format!("http://127.0.0.1:{api_port}");
        Ok(Self {
            bus,
            sink,
            nats,
            api,
            env,
            nodes: Vec::new(),
            caller: OnceCell::new(),
            _data: data,
        })
    }

    /// One more wahook process, once it is ready.
    pub(crate) async fn launch(&mut self, roles: &str) -> anyhow::Result<()> {
        let admin_port = free_port()?;
        let mut command = Command::new(wahook_binary()?);
        command.args([
            "serve",
            "--roles",
            roles,
            "--set",
            &format!("admin.listen=127.0.0.1:{admin_port}"),
        ]);
        let child = spawn(command.stdin(Stdio::null()).envs(self.env.iter().cloned()))?;
        self.nodes.push(Node { child, admin_port });
        wait_ready(admin_port).await
    }

    /// SIGKILL of all wahook processes.
    pub(crate) async fn kill_nodes(&mut self) -> anyhow::Result<()> {
        for mut node in self.nodes.drain(..) {
            node.child.kill().await?;
        }
        Ok(())
    }

    /// Resident bytes of all wahook processes.
    pub(crate) fn rss_bytes(&self) -> anyhow::Result<u64> {
        self.node_ids()?
            .into_iter()
            .map(|id| Ok(Usage::of(id)?.rss_bytes))
            .sum()
    }

    fn node_ids(&self) -> anyhow::Result<Vec<u32>> {
        self.nodes
            .iter()
            .map(|node| node.child.id().context("wahook ended during the run"))
            .collect()
    }

    /// The metrics of all wahook processes, one text after the other.
    pub(crate) async fn metrics(&self) -> anyhow::Result<String> {
        let client = http_client();
        let mut all = String::new();
        for Node { admin_port, .. } in &self.nodes {
            all += &client
                .get(format!("http://127.0.0.1:{admin_port}/metrics"))
                .send()
                .await?
                .text()
                .await?;
        }
        Ok(all)
    }
}

impl System for Lab {
    fn sink_port(&self) -> u16 {
        self.sink.port
    }

    fn parts(&self) -> anyhow::Result<Vec<Part>> {
        let nodes = self.node_ids()?.into_iter().map(|id| Part {
            name: "wahook",
            role: Role::Sender,
            id,
        });
        let others = [
            Part {
                name: "nats-server",
                role: Role::Store,
                id: self.nats.id()?,
            },
            Part {
                name: "publisher",
                role: Role::Harness,
                id: std::process::id(),
            },
            Part {
                name: "sink",
                role: Role::Harness,
                id: self.sink.id()?,
            },
        ];
        Ok(nodes.chain(others).collect())
    }

    async fn register(&self, endpoints: Vec<Endpoint>) -> anyhow::Result<()> {
        webhooks::register(&self.bus, self.sink.port, endpoints).await
    }

    async fn deliver(&mut self) -> anyhow::Result<()> {
        self.launch(ROLES).await
    }

    async fn publish(&self, plan: Plan) -> anyhow::Result<Vec<Sent>> {
        publishing(self.bus.clone(), plan).await
    }

    async fn newest_recorded(&self, endpoint: u32) -> anyhow::Result<Vec<u64>> {
        let caller = self
            .caller
            .get_or_try_init(|| Caller::new(&self.bus, &self.api))
            .await?;
        let webhook = self
            .bus
            .webhooks()
            .fetch_by_phone(client(), &phone(endpoint))
            .await?
            .context("registered before")?;
        let page = caller
            .get(&format!("/api/webhooks/{}/events?limit=50", webhook.id))
            .await?;
        let events = page["data"].as_array().context("a page of events")?;
        Ok(events
            .iter()
            .filter_map(|event| number_of(event["message_id"].as_str()?))
            .collect())
    }

    fn versions(&self) -> anyhow::Result<String> {
        let server = std::process::Command::new(nats_server()?)
            .arg("--version")
            .output()?;
        Ok(format!(
            "wahook {}, {}",
            env!("CARGO_PKG_VERSION"),
            String::from_utf8_lossy(&server.stdout).trim()
        ))
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.kill_nodes().await?;
        self.sink.stop().await?;
        self.nats.stop().await
    }
}

/// Follows a plan. Apart from the lab, whose processes may come and go meanwhile.
pub(crate) async fn publishing(bus: Bus, plan: Plan) -> anyhow::Result<Vec<Sent>> {
    publishing_until(&CancellationToken::new(), bus, plan).await
}

/// The same, as far as it came when it is told to stop.
pub(crate) async fn publishing_until(
    stop: &CancellationToken,
    bus: Bus,
    plan: Plan,
) -> anyhow::Result<Vec<Sent>> {
    open_loop_until(stop, plan, |number, endpoint| {
        let bus = bus.clone();
        let message = message(number, endpoint);
        async move { bus.publish_message(&message).await.is_ok() }
    })
    .await
}

async fn wait_ready(port: u16) -> anyhow::Result<()> {
    let client = http_client();
    let url = format!("http://127.0.0.1:{port}/readyz");
    let ready = async {
        while !client
            .get(&url)
            .send()
            .await
            .is_ok_and(|answer| answer.status().is_success())
        {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(START_MAX, ready)
        .await
        .context("wahook did not become ready")
}

/// Built beside this program, in the same profile.
fn wahook_binary() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("wahook");
    ensure!(
        path.is_file(),
        "{} is missing: `make bench` builds it",
        path.display()
    );
    Ok(path)
}
