//! Three real nats-servers from `nats/cluster.conf` as it is shipped: TLS, routes with a password,
//! and a user for each role.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use super::{
    app::{eventually, http_client},
    nats,
    process::free_port,
};

const NAMES: [&str; 3] = ["n1", "n2", "n3"];
/// Of every user: the server reads it as it reads its file, so it begins with a letter.
pub(crate) const PASSWORD: &str = "p4ssw0rd";
const USERS: [&str; 6] = ["ROUTE", "OPERATOR", "API", "INGEST", "DELIVER", "RECORD"];

/// One of the three.
struct Server {
    port: u16,
    route_port: u16,
    monitor_port: u16,
    process: Option<Child>,
}

impl Server {
    fn new() -> Self {
        Self {
            port: free_port(),
            route_port: free_port(),
            monitor_port: free_port(),
            process: None,
        }
    }
}

/// What a server shows to others.
struct Identity<'a> {
    name: &'a str,
    certificates: &'a Path,
    route_password: &'a str,
}

/// Whose certificate a server has.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Signed {
    /// One of the authority of the cluster.
    ByTheCluster,
    /// One of another.
    BySomebody,
}

/// The three servers; killed by their ids when dropped.
pub(crate) struct Cluster {
    folder: TempDir,
    servers: [Server; 3],
    /// Nothing listens there.
    dead_port: u16,
}

impl Cluster {
    /// Starts the servers, and waits until they are one cluster.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        certificates::write(folder.path(), &["n1", "n2", "n3", "n4"]).expect("certificates");
        let servers = NAMES.map(|_| Server::new());
        let mut cluster = Self {
            folder,
            servers,
            dead_port: free_port(),
        };
        for number in 0..NAMES.len() {
            cluster.spawn(number);
        }
        for number in 0..NAMES.len() {
            cluster.healthy(number).await;
        }
        cluster
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The authority's certificate.
    pub(crate) fn authority(&self) -> PathBuf {
        self.file(certificates::AUTHORITY)
    }

    /// The address of a server.
    pub(crate) fn url_of(&self, number: usize) -> String {
        format!("nats://127.0.0.1:{}", self.servers[number].port)
    }

    /// All servers, behind an address where nothing answers.
    pub(crate) fn url(&self) -> String {
        let ports = std::iter::once(self.dead_port).chain(self.servers.iter().map(|one| one.port));
        let all: Vec<_> = ports
            .map(|port| format!("nats://127.0.0.1:{port}"))
            .collect();
        all.join(",")
    }

    /// The settings by which a process with this role gets in.
    pub(crate) fn login(&self, user: &str) -> [(&'static str, String); 4] {
        [
            ("NATS__USER", user.to_owned()),
            ("NATS__PASSWORD", PASSWORD.to_owned()),
            ("NATS__INBOX_PREFIX", format!("_INBOX_{user}")),
            ("NATS__ROOT_CA_FILE", self.authority().display().to_string()),
        ]
    }

    /// The same for a client of no room's.
    pub(crate) fn options(&self, user: &str) -> async_nats::ConnectOptions {
        let _ = rustls::crypto::ring::default_provider().install_default();
        async_nats::ConnectOptions::new()
            .user_and_password(user.to_owned(), PASSWORD.to_owned())
            .add_root_certificates(self.authority())
            .require_tls(true)
            .custom_inbox_prefix(format!("_INBOX_{user}"))
    }

    /// Connects with these options to the first server that answers.
    pub(crate) async fn connect(&self, options: async_nats::ConnectOptions) -> async_nats::Client {
        let addresses: Vec<async_nats::ServerAddr> = self
            .url()
            .split(',')
            .map(|url| url.parse().expect("an address"))
            .collect();
        options.connect(addresses).await.expect("connects")
    }

    fn spawn(&mut self, number: usize) {
        let identity = Identity {
            name: NAMES[number],
            certificates: self.folder.path(),
            route_password: PASSWORD,
        };
        let child = self.start_server(&self.servers[number], &identity);
        self.servers[number].process = Some(child);
    }

    /// The shipped file with addresses of this machine; the rest comes from the environment.
    fn start_server(&self, server: &Server, identity: &Identity<'_>) -> Child {
        let Identity {
            name,
            certificates,
            route_password,
        } = identity;
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("nats/cluster.conf");
        let mut text = fs::read_to_string(shipped).expect("the file is there");
        for (shipped, port) in [
            ("\nlisten: 0.0.0.0:4222", server.port),
            ("\n  listen: 0.0.0.0:6222", server.route_port),
            ("\nhttp: 127.0.0.1:8222", server.monitor_port),
        ] {
            let (key, _) = shipped.split_once(':').expect("a key");
            assert!(text.contains(shipped), "nats/cluster.conf says {shipped}");
            text = text.replace(shipped, &format!("{key}: 127.0.0.1:{port}"));
        }
        let config = self.file(&format!("{name}.conf"));
        fs::write(&config, text).expect("a writable folder");
        let mut command = Command::new(nats::binary());
        command
            .args(["--config".as_ref(), config.as_os_str()])
            .args(["--log".as_ref(), self.log_file(name).as_os_str()])
            .env("SERVER_NAME", name)
            .env("CLIENT_ADVERTISE", format!("127.0.0.1:{}", server.port))
            .env(
                "CLUSTER_ADVERTISE",
                format!("127.0.0.1:{}", server.route_port),
            )
            .env("STORE_DIR", self.file(&format!("{name}.store")))
            .env("TLS_CERT", certificates.join(format!("{name}.crt")))
            .env("TLS_KEY", certificates.join(format!("{name}.key")))
            .env("TLS_CA", self.authority());
        for (place, server) in (1..).zip(&self.servers) {
            let route = format!(
                "nats://route:{route_password}@127.0.0.1:{}",
                server.route_port
            );
            command.env(format!("ROUTE_{place}"), route);
        }
        for user in USERS {
            command.env(format!("{user}_PASSWORD"), PASSWORD);
        }
        nats::start(command)
    }

    /// Whether a fourth server becomes one of the cluster, with a certificate of the cluster's
    /// authority or another's, and this password.
    pub(crate) async fn takes_in(&self, certificate: Signed, route_password: &str) -> bool {
        let name = "n4";
        let foreign = tempfile::tempdir().expect("a temporary folder");
        let certificates = match certificate {
            Signed::ByTheCluster => self.folder.path(),
            Signed::BySomebody => {
                certificates::write(foreign.path(), &[name]).expect("certificates");
                foreign.path()
            }
        };
        let identity = Identity {
            name,
            certificates,
            route_password,
        };
        let told = self.log_file(NAMES[0]);
        let before = fs::read_to_string(&told).expect("it has logged").len();
        let mut process = self.start_server(&Server::new(), &identity);
        let taken = eventually("a fourth server is taken in, or not", async || {
            let routes = self.monitor(0, "routez").await?;
            if routes.contains("\"remote_name\": \"n4\"") {
                return Some(true);
            }
            let log = fs::read_to_string(&told).ok()?;
            let refused = ["TLS route handshake error", "authentication error"];
            let is_refused = refused.iter().any(|word| log[before..].contains(word));
            is_refused.then_some(false)
        })
        .await;
        process.kill().await.expect("it runs");
        taken
    }

    fn log_file(&self, name: &str) -> PathBuf {
        self.file(&format!("{name}.log"))
    }

    /// What a server's monitoring says at this path; `None` when it does not answer, or not well.
    async fn monitor(&self, number: usize, path: &str) -> Option<String> {
        let port = self.servers[number].monitor_port;
        let answer = http_client()
            .get(format!("http://127.0.0.1:{port}/{path}"))
            .send()
            .await
            .ok()?;
        answer.status().is_success().then_some(())?;
        answer.text().await.ok()
    }

    /// Waits until a server has all that the others have.
    pub(crate) async fn healthy(&self, number: usize) {
        eventually(&format!("{} is healthy", NAMES[number]), async || {
            self.monitor(number, "healthz").await
        })
        .await;
    }

    /// The number of the server that leads the whole.
    pub(crate) async fn meta_leader(&self) -> usize {
        eventually("the servers have a leader", async || {
            for number in 0..NAMES.len() {
                let told = self.monitor(number, "jsz").await;
                let told: Value = serde_json::from_str(&told.unwrap_or_default()).ok()?;
                let leader = told["meta_cluster"]["leader"].as_str();
                if let Some(leader) = leader.filter(|name| NAMES.contains(name)) {
                    return Some(Self::number(leader));
                }
            }
            None
        })
        .await
    }

    /// Lines of the servers' logs in which a permission was missing.
    pub(crate) fn violations(&self) -> Vec<String> {
        let logs = NAMES.map(|name| fs::read_to_string(self.log_file(name)));
        let lines = logs.into_iter().flat_map(|log| {
            let log = log.expect("it has logged");
            let lines = log.lines().filter(|line| line.contains("Violation"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        });
        lines.collect()
    }
}

/// Faults.
#[allow(dead_code, reason = "most of them are for tests/chaos")]
impl Cluster {
    /// SIGKILL.
    pub(crate) async fn kill(&mut self, number: usize) {
        let mut process = self.servers[number].process.take().expect("it runs");
        process.kill().await.expect("it runs");
    }

    /// SIGTERM, and waits for the end.
    pub(crate) async fn terminate(&mut self, number: usize) {
        self.signal(number, "TERM").await;
        self.ended(number).await;
    }

    /// Waits for the end of a server that was told to end.
    pub(crate) async fn ended(&mut self, number: usize) {
        let mut process = self.servers[number].process.take().expect("it runs");
        tokio::time::timeout(super::app::WAIT_MAX * 2, process.wait())
            .await
            .expect("ends in time")
            .expect("was started here");
    }

    /// A new process on the same data.
    pub(crate) fn start_again(&mut self, number: usize) {
        self.spawn(number);
    }

    /// Sends a signal by its name.
    pub(crate) async fn signal(&self, number: usize, name: &str) {
        let process = self.servers[number].process.as_ref().expect("it runs");
        let pid = process.id().expect("it runs").to_string();
        let status = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status()
            .await;
        assert!(status.is_ok_and(|status| status.success()), "kill -{name}");
    }

    /// The number of a server by its name.
    pub(crate) fn number(name: &str) -> usize {
        NAMES
            .iter()
            .position(|one| *one == name)
            .expect("one of the three")
    }

    /// How many clients each server has.
    pub(crate) async fn clients(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for (number, count) in counts.iter_mut().enumerate() {
            let text = self.monitor(number, "connz").await.unwrap_or_default();
            let connections: Value = serde_json::from_str(&text).unwrap_or_default();
            *count = connections["connections"].as_array().map_or(0, Vec::len);
        }
        counts
    }
}
