//! Type and bounds of each key. A test compares them with `config/default.toml`.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use url::Url;

use super::{
    read::Reader,
    settings::{
        Admin, Api, Bus, Config, Cql, Deliver, Egress, KeysHome, Log, LogFormat, Nats, Node,
        ProxyAddress, ProxyKind, Quota, Replay, Secrets, Store, StoreKind, WhatsApp,
    },
};
use crate::model::{
    Limit,
    webhook_limits::{IN_FLIGHT_MAX, RATE_PER_SECOND_MAX, RETRIES_MAX},
};

pub(super) fn build(r: &mut Reader<'_>) -> Config {
    let deliver = deliver(r);
    Config {
        node: node(r),
        log: log(r),
        nats: nats(r),
        bus: bus(r, deliver.retry_bytes_max),
        deliver,
        egress: egress(r),
        store: store(r),
        cql: cql(r),
        whatsapp: whatsapp(r),
        replay: Replay {
            rate_per_second: r.integer("replay.rate_per_second", 1, 1000),
            jobs_max: r.integer("replay.jobs_max", 1, 1024),
            lost_after: r.duration("replay.lost_after", "2s", "1h"),
        },
        api: api(r),
        secrets: Secrets {
            keys_file: r.optional("secrets.keys_file"),
        },
        admin: Admin {
            listen: r.address("admin.listen"),
        },
    }
}

fn node(r: &mut Reader<'_>) -> Node {
    Node {
        data_dir: r.path("node.data_dir"),
        drain_delay: r.duration("node.drain_delay", "0s", "5m"),
        drain_deadline: r.duration("node.drain_deadline", "1s", "10m"),
    }
}

fn log(r: &mut Reader<'_>) -> Log {
    let format = |text: &str| match text {
        "auto" => Some(LogFormat::Auto),
        "json" => Some(LogFormat::Json),
        "text" => Some(LogFormat::Text),
        _ => None,
    };
    let filter = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    Log {
        filter: r
            .parsed(
                "log.filter",
                "a filter like \"info,wahook::deliver=debug\"",
                filter,
            )
            .unwrap_or_default(),
        format: r
            .parsed("log.format", "\"auto\", \"json\" or \"text\"", format)
            .unwrap_or(LogFormat::Auto),
    }
}

fn nats(r: &mut Reader<'_>) -> Nats {
    let expected = "servers like \"nats://127.0.0.1:4222\" (or tls), divided by commas; \
                    user and password belong into nats.user and nats.password";
    Nats {
        url: r.parsed("nats.url", expected, nats_url).unwrap_or_default(),
        user: r.optional("nats.user"),
        password: r.secret("nats.password"),
        credentials_file: r.optional("nats.credentials_file"),
        root_ca_file: r.optional("nats.root_ca_file"),
        inbox_prefix: r.optional("nats.inbox_prefix"),
        jetstream_domain: r.optional_parsed(
            "nats.jetstream_domain",
            "a name like \"hub\", without dots and spaces",
            |text| is_token(text).then(|| text.to_owned()),
        ),
        jetstream_api_prefix: r.optional_parsed(
            "nats.jetstream_api_prefix",
            "a subject like \"JS.acc.API\", without a dot at its end",
            |text| text.split('.').all(is_token).then(|| text.to_owned()),
        ),
        connect_timeout: r.duration("nats.connect_timeout", "100ms", "1m"),
        request_timeout: r.duration("nats.request_timeout", "100ms", "1m"),
    }
}

/// Whether this may stand between two dots of a subject.
fn is_token(text: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_graphic() && !"*>.".contains(letter);
    !text.is_empty() && text.chars().all(is_plain)
}

/// The servers without the spaces around them. A user or password is refused here, since dumps and
/// logs show this value.
fn nats_url(text: &str) -> Option<String> {
    let servers: Option<Vec<&str>> = text.split(',').map(nats_server).collect();
    Some(servers?.join(","))
}

fn nats_server(text: &str) -> Option<&str> {
    let server = text.trim();
    let url = Url::parse(server).ok()?;
    let has_scheme = ["nats", "tls"].contains(&url.scheme());
    let has_host = url.host_str().is_some_and(|host| !host.is_empty());
    let has_user = !url.username().is_empty() || url.password().is_some();
    let has_more = !["", "/"].contains(&url.path()) || url.query().or(url.fragment()).is_some();
    let is_server = has_scheme && has_host && url.port() != Some(0) && !has_user && !has_more;
    is_server.then_some(server)
}

fn bus(r: &mut Reader<'_>, retry_bytes_max: u64) -> Bus {
    Bus {
        replicas: r.one_of("bus.replicas", [1, 3, 5]),
        placement_cluster: r.optional("bus.placement_cluster"),
        placement_tags: r.list("bus.placement_tags", "a list of tags like [\"region:eu\"]"),
        partitions: r.integer("bus.partitions", 1, 64),
        ack_wait: r.duration("bus.ack_wait", "15s", "30m"),
        message_bytes_max: r.size("bus.message_bytes_max", "1MiB", "16TiB"),
        hold_bytes_max: r.size("bus.hold_bytes_max", "1MiB", "16TiB"),
        dead_letter_bytes_max: r.size("bus.dead_letter_bytes_max", "1MiB", "16TiB"),
        session_key_bytes_max: r.size("bus.session_key_bytes_max", "1MiB", "16TiB"),
        publish_deadline: r.duration("bus.publish_deadline", "100ms", "5m"),
        result_group_max: r.integer("bus.result_group_max", 1, 1024),
        result_group_wait: r.duration("bus.result_group_wait", "0s", "1s"),
        retry_bytes_max,
        quota: Quota {
            waiting_bytes_max: r.limit("quota.waiting_bytes_max", Limit::WaitingBytes),
            dead_letter_bytes_max: r.limit("quota.dead_letter_bytes_max", Limit::DeadLetterBytes),
            messages_per_second: r.limit("quota.messages_per_second", Limit::MessagesPerSecond),
            webhooks_max: r.limit("quota.webhooks_max", Limit::Webhooks),
            recount_interval: r.duration("quota.recount_interval", "1s", "24h"),
        },
    }
}

fn deliver(r: &mut Reader<'_>) -> Deliver {
    Deliver {
        timeout: r.duration("deliver.timeout", "100ms", "2m"),
        max_retries: r.integer("deliver.max_retries", 0, RETRIES_MAX.into()),
        retry_base: r.duration("deliver.retry_base", "100ms", "1h"),
        retry_jitter: r.share("deliver.retry_jitter", 0.5),
        retry_max: r.duration("deliver.retry_max", "1s", "24h"),
        rate_per_second: r.integer("deliver.rate_per_second", 1, RATE_PER_SECOND_MAX.into()),
        in_flight: r.integer("deliver.in_flight", 1, IN_FLIGHT_MAX.into()),
        lane_wait: r.duration("deliver.lane_wait", "0s", "30s"),
        in_flight_max: r.integer("deliver.in_flight_max", 1, 65_536),
        breaker_failures: r.integer("deliver.breaker_failures", 1, 1000),
        breaker_open: r.duration("deliver.breaker_open", "1s", "1h"),
        disable_after: r.duration("deliver.disable_after", "1s", "720h"),
        memory_max: r.size("deliver.memory_max", "1MiB", "1TiB"),
        retry_bytes_max: r.size("deliver.retry_bytes_max", "1MiB", "16TiB"),
    }
}

fn egress(r: &mut Reader<'_>) -> Egress {
    Egress {
        allow_http: r.boolean("egress.allow_http"),
        allow_cidrs: r.list(
            "egress.allow_cidrs",
            "a list of ranges like [\"10.1.0.0/16\", \"fd00::/8\"]",
        ),
        connect_timeout: r.duration("egress.connect_timeout", "100ms", "1m"),
        dns_timeout: r.duration("egress.dns_timeout", "100ms", "1m"),
        response_bytes_max: r.size("egress.response_bytes_max", "0", "16KiB"),
        root_ca_file: r.optional("egress.root_ca_file"),
        proxy: r.optional_parsed("egress.proxy", PROXY_EXPECTED, proxy),
        proxy_user: r.optional("egress.proxy_user"),
        proxy_password: r.secret("egress.proxy_password"),
    }
}

const PROXY_EXPECTED: &str = "a proxy like \"http://proxy.internal:3128\" or \
                              \"socks5://10.0.0.1:1080\"; user and password belong into \
                              egress.proxy_user and egress.proxy_password";

fn proxy(text: &str) -> Option<ProxyAddress> {
    let url = Url::parse(text.trim()).ok()?;
    let kind = match url.scheme() {
        "http" => ProxyKind::Http,
        "socks5" => ProxyKind::Socks5,
        _ => return None,
    };
    let has_user = !url.username().is_empty() || url.password().is_some();
    let has_more = !["", "/"].contains(&url.path()) || url.query().or(url.fragment()).is_some();
    let host = url.host_str().filter(|host| !host.is_empty())?;
    // The brackets of IPv6 belong to the URL.
    let host = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let port = url.port().unwrap_or(kind.port());
    (!has_user && !has_more && port != 0).then_some(ProxyAddress { kind, host, port })
}

fn store(r: &mut Reader<'_>) -> Store {
    let kind = |text: &str| match text {
        "sqlite" => Some(StoreKind::Sqlite),
        "cql" => Some(StoreKind::Cql),
        _ => None,
    };
    Store {
        kind: r
            .parsed("store.kind", "\"sqlite\" or \"cql\"", kind)
            .unwrap_or(StoreKind::Sqlite),
        retention: r.duration("store.retention", "24h", "26280h"),
        path: r.path("store.path"),
        batch_max: r.integer("store.batch_max", 1, 10_000),
        batch_wait: r.duration("store.batch_wait", "0s", "1s"),
        busy_timeout: r.duration("store.busy_timeout", "0s", "5m"),
    }
}

fn cql(r: &mut Reader<'_>) -> Cql {
    // CQL statements contain the name, because it cannot be a bound value.
    let name = |text: &str| {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let begins = text.starts_with(|letter: char| letter.is_ascii_lowercase());
        (begins && text.len() <= 48 && text.bytes().all(fits)).then(|| text.to_owned())
    };
    Cql {
        nodes: r
            .list(
                "cql.nodes",
                "a list of nodes like [\"10.0.0.1:9042\", \"10.0.0.2:9042\"]",
            )
            .into_iter()
            .map(|CqlNode(text)| text)
            .collect(),
        keyspace: r
            .parsed(
                "cql.keyspace",
                "1 to 48 lower-case letters, digits and _, a letter first",
                name,
            )
            .unwrap_or_default(),
        datacenter: r.optional("cql.datacenter"),
        user: r.optional("cql.user"),
        password: r.secret("cql.password"),
        tls: r.boolean("cql.tls"),
        root_ca_file: r.optional("cql.root_ca_file"),
        connect_timeout: r.duration("cql.connect_timeout", "100ms", "1m"),
        write_timeout: r.duration("cql.write_timeout", "100ms", "30s"),
        read_timeout: r.duration("cql.read_timeout", "100ms", "30s"),
        in_flight: r.integer("cql.in_flight", 1, 16_384),
    }
}

/// `host`, `host:port`, `[address]:port`, or an IPv6 address.
struct CqlNode(String);

impl FromStr for CqlNode {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let is_port = |port: &str| {
            let digits = port.bytes().all(|b| b.is_ascii_digit());
            digits && port.parse::<u16>().is_ok_and(|port| port != 0)
        };
        let is_host = |host: &str| {
            let fits = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            !host.is_empty() && host.bytes().all(fits)
        };
        let is_ipv6 = |text: &str| text.parse::<Ipv6Addr>().is_ok();
        let is_node = match text.strip_prefix('[') {
            Some(rest) => rest
                .split_once("]:")
                .is_some_and(|(address, port)| is_ipv6(address) && is_port(port)),
            None if is_ipv6(text) => true,
            None => match text.split_once(':') {
                Some((host, port)) => is_host(host) && is_port(port),
                None => is_host(text),
            },
        };
        is_node.then(|| Self(text.to_owned())).ok_or(())
    }
}

impl fmt::Display for CqlNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn whatsapp(r: &mut Reader<'_>) -> WhatsApp {
    let socket = |text: &str| {
        let rest = text
            .strip_prefix("wss://")
            .or_else(|| text.strip_prefix("ws://"))?;
        (!rest.is_empty() && rest.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
    };
    let host = |text: &str| {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b".-:".contains(&b);
        (!text.is_empty() && text.bytes().all(fits)).then(|| text.to_owned())
    };
    // Empty means "not set", as for every optional key.
    let version = |text: &str| {
        if text.is_empty() {
            Some(None)
        } else {
            text.parse().ok().map(Some)
        }
    };
    let name =
        |text: &str| Some(text.to_owned()).filter(|text| (1..=40).contains(&text.chars().count()));
    let home = |text: &str| match text {
        "files" => Some(KeysHome::Files),
        "jetstream" => Some(KeysHome::JetStream),
        _ => None,
    };
    WhatsApp {
        keys: r
            .parsed("whatsapp.keys", "\"files\" or \"jetstream\"", home)
            .unwrap_or(KeysHome::Files),
        sessions_dir: r.path("whatsapp.sessions_dir"),
        url: r
            .parsed(
                "whatsapp.url",
                "a WebSocket address like \"wss://web.whatsapp.com/ws/chat\"",
                socket,
            )
            .unwrap_or_default(),
        version: r
            .parsed(
                "whatsapp.version",
                "three numbers like \"2.3000.1023223821\"",
                version,
            )
            .flatten(),
        device_name: r
            .parsed("whatsapp.device_name", "a name of 1 to 40 characters", name)
            .unwrap_or_default(),
        connects_per_second: r.integer("whatsapp.connects_per_second", 1, 1000),
        publish_patience: r.duration("whatsapp.publish_patience", "1s", "5m"),
        sends_per_minute: r.integer("whatsapp.sends_per_minute", 1, 6000),
        gap_check_chats: r.integer("whatsapp.gap_check_chats", 0, 20),
        media_host: r
            .parsed(
                "whatsapp.media_host",
                "a host, with or without a port",
                host,
            )
            .unwrap_or_default(),
        root_ca_file: r.optional("whatsapp.root_ca_file"),
    }
}

fn api(r: &mut Reader<'_>) -> Api {
    Api {
        listen: r.address("api.listen"),
        body_bytes_max: r.size("api.body_bytes_max", "1KiB", "768KiB"),
        header_timeout: r.duration("api.header_timeout", "100ms", "1m"),
        request_timeout: r.duration("api.request_timeout", "100ms", "5m"),
        write_timeout: r.duration("api.write_timeout", "100ms", "5m"),
        connections_max: r.integer("api.connections_max", 1, 65_536),
        connections_per_peer_max: r.integer("api.connections_per_peer_max", 1, 65_536),
        proxy_cidrs: r.list(
            "api.proxy_cidrs",
            "a list of ranges like [\"10.1.0.0/16\", \"fd00::/8\"]",
        ),
        registrations_per_minute: r.integer("api.registrations_per_minute", 1, 100_000),
        secret_overlap: r.duration("api.secret_overlap", "0s", "168h"),
        page: r.boolean("api.page"),
    }
}

#[cfg(test)]
mod tests;
