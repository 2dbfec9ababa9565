//! The settings as the rooms read them. `config/default.toml` documents each.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::model::{Limit, Secret};

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Config {
    pub node: Node,
    pub log: Log,
    pub nats: Nats,
    pub bus: Bus,
    pub deliver: Deliver,
    pub egress: Egress,
    pub store: Store,
    pub cql: Cql,
    pub whatsapp: WhatsApp,
    pub replay: Replay,
    pub api: Api,
    pub secrets: Secrets,
    pub admin: Admin,
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Node {
    pub data_dir: PathBuf,
    pub drain_delay: Duration,
    pub drain_deadline: Duration,
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Log {
    pub filter: String,
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub enum LogFormat {
    Auto,
    Json,
    Text,
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Nats {
    pub url: String,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub credentials_file: Option<PathBuf>,
    pub root_ca_file: Option<PathBuf>,
    pub inbox_prefix: Option<String>,
    pub jetstream_domain: Option<String>,
    pub jetstream_api_prefix: Option<String>,
    pub connect_timeout: Duration,
    pub request_timeout: Duration,
}

impl Nats {
    /// What subjects of JetStream's API begin with, without the last dot.
    pub fn api_prefix(&self) -> String {
        match (&self.jetstream_api_prefix, &self.jetstream_domain) {
            (Some(prefix), _) => prefix.clone(),
            (None, Some(domain)) => format!("$JS.{domain}.API"),
            (None, None) => "$JS.API".to_owned(),
        }
    }

    /// The servers that `nats.url` lists.
    pub fn servers(&self) -> impl Iterator<Item = &str> {
        self.url.split(',')
    }
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Bus {
    pub replicas: usize,
    pub placement_cluster: Option<String>,
    pub placement_tags: Vec<String>,
    pub partitions: u16,
    pub ack_wait: Duration,
    pub message_bytes_max: u64,
    pub hold_bytes_max: u64,
    pub dead_letter_bytes_max: u64,
    pub session_key_bytes_max: u64,
    pub publish_deadline: Duration,
    pub result_group_max: usize,
    pub result_group_wait: Duration,
    /// `deliver.retry_bytes_max`: the limit of WA_RETRY follows from it.
    pub retry_bytes_max: u64,
    /// What each client may do and store.
    pub quota: Quota,
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Quota {
    pub waiting_bytes_max: u64,
    pub dead_letter_bytes_max: u64,
    pub messages_per_second: u32,
    pub webhooks_max: u32,
    pub recount_interval: Duration,
}

impl Quota {
    /// What holds for clients without a limit of their own.
    pub fn limit(&self, limit: Limit) -> u64 {
        match limit {
            Limit::WaitingBytes => self.waiting_bytes_max,
            Limit::DeadLetterBytes => self.dead_letter_bytes_max,
            Limit::MessagesPerSecond => self.messages_per_second.into(),
            Limit::Webhooks => self.webhooks_max.into(),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Deliver {
    pub timeout: Duration,
    pub max_retries: u16,
    pub retry_base: Duration,
    pub retry_jitter: f64,
    pub retry_max: Duration,
    pub rate_per_second: u32,
    pub in_flight: u32,
    pub lane_wait: Duration,
    pub in_flight_max: usize,
    pub memory_max: u64,
    pub breaker_failures: u32,
    pub breaker_open: Duration,
    pub disable_after: Duration,
    pub retry_bytes_max: u64,
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Egress {
    pub allow_http: bool,
    pub allow_cidrs: Vec<ipnet::IpNet>,
    pub connect_timeout: Duration,
    pub dns_timeout: Duration,
    pub response_bytes_max: usize,
    pub root_ca_file: Option<PathBuf>,
    pub proxy: Option<ProxyAddress>,
    pub proxy_user: Option<String>,
    pub proxy_password: Option<Secret>,
}

/// Where the proxy is, and what it speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyAddress {
    /// Its protocol.
    pub kind: ProxyKind,
    /// Name or address, IPv6 without brackets.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// The protocol of a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyKind {
    /// HTTP `CONNECT`.
    Http,
    /// SOCKS5.
    Socks5,
}

impl ProxyKind {
    /// The port of a proxy whose URL has none.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Socks5 => 1080,
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Store {
    pub kind: StoreKind,
    pub retention: Duration,
    pub path: PathBuf,
    pub batch_max: usize,
    pub batch_wait: Duration,
    pub busy_timeout: Duration,
}

/// The store backends of the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreKind {
    /// One file on this machine.
    Sqlite,
    /// A ScyllaDB or Cassandra cluster.
    Cql,
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Cql {
    pub nodes: Vec<String>,
    pub keyspace: String,
    pub datacenter: Option<String>,
    pub user: Option<String>,
    pub password: Option<Secret>,
    pub tls: bool,
    pub root_ca_file: Option<PathBuf>,
    pub connect_timeout: Duration,
    pub write_timeout: Duration,
    pub read_timeout: Duration,
    pub in_flight: usize,
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct WhatsApp {
    pub keys: KeysHome,
    pub sessions_dir: PathBuf,
    pub url: String,
    pub version: Option<WebVersion>,
    pub device_name: String,
    pub connects_per_second: u32,
    pub publish_patience: Duration,
    pub sends_per_minute: u32,
    pub gap_check_chats: usize,
    pub media_host: String,
    pub root_ca_file: Option<PathBuf>,
}

/// Where the keys of WhatsApp sessions are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeysHome {
    /// In files of `whatsapp.sessions_dir`.
    Files,
    /// In JetStream.
    JetStream,
}

/// A version of WhatsApp Web: three numbers with dots between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebVersion(pub u32, pub u32, pub u32);

impl std::str::FromStr for WebVersion {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match numbers.map_err(|_| ())?[..] {
            [major, minor, build] => Ok(Self(major, minor, build)),
            _ => Err(()),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Replay {
    pub rate_per_second: u32,
    pub jobs_max: usize,
    pub lost_after: Duration,
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Api {
    pub listen: SocketAddr,
    pub body_bytes_max: usize,
    pub header_timeout: Duration,
    pub request_timeout: Duration,
    pub write_timeout: Duration,
    pub connections_max: usize,
    pub connections_per_peer_max: usize,
    pub proxy_cidrs: Vec<ipnet::IpNet>,
    pub registrations_per_minute: u32,
    pub secret_overlap: Duration,
    pub page: bool,
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Secrets {
    pub keys_file: Option<PathBuf>,
}

#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "config/default.toml documents every key")]
pub struct Admin {
    pub listen: SocketAddr,
}
