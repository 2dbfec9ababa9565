//! The connection.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{
    Client, ConnectOptions, Event, ServerAddr,
    connection::State,
    jetstream::{self, context::ContextBuilder},
};
use tokio::{sync::watch, time::timeout};

use super::{
    ApiTokens, ClientLimits, Error, Jobs, KeyRotation, Sessions, SharedKeys, Webhooks,
    bucket::Buckets, hearing::Hearing, patience::patiently, retry_room::RetryRoom,
    server_clock::ServerClock, servers::ServerChoice, shared_keys::LoadedKeys, usage::UsageCounts,
};
use crate::{
    config,
    tasks::Tasks,
    telemetry,
    wire::{BODY_BYTES_MAX, BODY_BYTES_MAX_LEAST, ENVELOPE_BYTES_MAX, Keyring},
};

/// Addresses beyond the first of each name that may be tried while connecting.
const FURTHER_ADDRESSES_MAX: usize = 2;
/// The client leaves a server that owes it two answers when it would ask for the third one: so it
/// leaves one that hangs after 3 to 4.5 s.
const PING_INTERVAL: Duration = Duration::from_millis(1500);
/// Requests waiting for the connection; more of them wait outside.
const CLIENT_QUEUE_MAX: usize = 2048;

/// Digits of a phone number at least.
const PHONE_DIGITS_MIN: usize = 5;

/// A connection to JetStream, with all that the other rooms do through it. Clones share it.
#[derive(Clone)]
pub struct Bus {
    pub(super) client: Client,
    pub(super) context: jetstream::Context,
    api_prefix: Arc<str>,
    pub(super) settings: Arc<config::Bus>,
    /// Counts connections: an answer that was asked for on an earlier one will not come.
    pub(super) connections: watch::Sender<u64>,
    pub(super) retry_room: Arc<RetryRoom>,
    pub(super) usage: Arc<UsageCounts>,
    pub(super) clock: Arc<ServerClock>,
    pub(super) hearing: Arc<Hearing>,
    clients: Arc<Clients>,
    pub(super) request_timeout: Duration,
    body_bytes_max: usize,
}

impl Bus {
    /// Connects, and makes sure that the server knows message schedules. Reconnects by itself, for
    /// ever.
    ///
    /// # Errors
    /// When none of the servers answers, each within `connect_timeout`, or the server is older than
    /// 2.12.
    pub async fn connect(
        nats: &config::Nats,
        bus: &config::Bus,
        name: &str,
    ) -> Result<Self, Error> {
        let started = Instant::now();
        let connections = watch::Sender::new(0);
        let servers = servers(nats)?;
        let deadline = connect_deadline(servers.len(), nats.connect_timeout);
        let connecting = options(nats, name, connections.clone())
            .await?
            .connect(servers);
        let client = timeout(deadline, connecting)
            .await
            .map_err(|_| Error::Connect(format!("no answer within {deadline:?}")))?
            .map_err(|error| Error::Connect(error.to_string()))?;
        if !client.is_server_compatible(2, 12, 0) {
            return Err(Error::ServerTooOld {
                found: client.server_info().version,
            });
        }
        let body_bytes_max = body_bytes_max(client.server_info().max_payload);
        telemetry::bus_connected(true);
        tracing::debug!(
            elapsed_ms = started.elapsed().as_millis(),
            "connected to NATS"
        );
        let api_prefix = nats.api_prefix();
        let context = ContextBuilder::new()
            .api_prefix(api_prefix.clone())
            .timeout(nats.request_timeout)
            .ack_timeout(nats.request_timeout)
            .build(client.clone());
        let clients = Arc::new(Clients::new(Buckets {
            context: context.clone(),
            connections: connections.clone(),
        }));
        let settings = Arc::new(bus.clone());
        let retry_room = Arc::new(RetryRoom::new(context.clone(), bus.retry_bytes_max));
        let request_timeout = nats.request_timeout;
        Ok(Self {
            client,
            context,
            api_prefix: api_prefix.into(),
            settings,
            connections,
            retry_room,
            usage: Arc::default(),
            clock: Arc::default(),
            hearing: Arc::default(),
            clients,
            request_timeout,
            body_bytes_max,
        })
    }

    /// A subject of JetStream's API. Most requests go through `context`, which knows the prefix.
    pub(super) fn api_subject(&self, name: impl fmt::Display) -> String {
        format!("{}.{name}", self.api_prefix)
    }

    /// Bytes of the body of a delivery at most, so that it fits into the streams with all that an
    /// envelope adds.
    pub fn body_bytes_max(&self) -> usize {
        self.body_bytes_max
    }

    /// Whether there is a connection now.
    pub fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Returns once the server has all that was sent, acknowledgements among it; call it before the
    /// process ends.
    pub async fn flush(&self) -> Result<(), Error> {
        // What is lost here is counted again later.
        let _ = timeout(self.request_timeout, self.flush_usage()).await;
        let flushed = timeout(self.request_timeout, self.client.flush()).await;
        flushed
            .map_err(|_| Error::Timeout("an answer to a flush"))?
            .map_err(Error::from)
    }

    /// The registered webhooks.
    pub fn webhooks(&self) -> &Webhooks {
        &self.clients.webhooks
    }

    /// The tokens that the API accepts.
    pub fn tokens(&self) -> &ApiTokens {
        &self.clients.tokens
    }

    /// What operators set for single clients.
    pub fn client_limits(&self) -> &ClientLimits {
        &self.clients.limits
    }

    /// WhatsApp sessions.
    pub fn sessions(&self) -> &Sessions {
        &self.clients.sessions
    }

    /// Replays and releases.
    pub fn jobs(&self) -> &Jobs {
        &self.clients.jobs
    }

    /// The keys that all nodes share.
    pub fn shared_keys(&self) -> &SharedKeys {
        &self.clients.shared_keys
    }

    /// The keys that secrets are sealed with.
    pub fn key_rotation(&self) -> &KeyRotation {
        &self.clients.key_rotation
    }

    pub(super) fn buckets(&self) -> &Buckets {
        &self.clients.buckets
    }

    pub(super) fn loaded_keys(&self) -> &LoadedKeys {
        &self.clients.keys
    }

    /// Loads the keys that open secrets. Needs the buckets.
    ///
    /// # Errors
    /// When the keys are not those of the bus.
    pub async fn load_keys(&self, keys: Keyring) -> Result<(), Error> {
        patiently(async || self.clients.key_rotation.check_keys(&keys).await).await?;
        self.clients.keys.set(keys);
        Ok(())
    }

    /// Loads the webhooks, opens their secrets with these keys, and keeps them current. Needs the
    /// buckets: call it once they are applied or checked.
    ///
    /// # Errors
    /// When a bucket is missing, or the keys are not those of the bus.
    pub async fn load_webhooks(&self, keys: Keyring, tasks: &Tasks) -> Result<(), Error> {
        self.load_keys(keys).await?;
        self.start_pulse(tasks).await?;
        self.clients.webhooks.load(tasks).await
    }
}

/// One client for each kind of stored value.
struct Clients {
    buckets: Buckets,
    keys: LoadedKeys,
    webhooks: Webhooks,
    tokens: ApiTokens,
    limits: ClientLimits,
    sessions: Sessions,
    jobs: Jobs,
    shared_keys: SharedKeys,
    key_rotation: KeyRotation,
}

impl Clients {
    fn new(buckets: Buckets) -> Self {
        let keys = LoadedKeys::default();
        Self {
            webhooks: Webhooks::new(&buckets, keys.clone()),
            tokens: ApiTokens::new(&buckets),
            limits: ClientLimits::new(&buckets),
            sessions: Sessions::new(&buckets, keys.clone()),
            jobs: Jobs::new(&buckets),
            shared_keys: SharedKeys::new(&buckets, keys.clone()),
            key_rotation: KeyRotation::new(&buckets),
            buckets,
            keys,
        }
    }
}

/// The streams take messages of 2 MiB; a server may take less.
fn body_bytes_max(max_payload: usize) -> usize {
    max_payload
        .saturating_sub(ENVELOPE_BYTES_MAX)
        .clamp(BODY_BYTES_MAX_LEAST, BODY_BYTES_MAX)
}

fn servers(nats: &config::Nats) -> Result<Vec<ServerAddr>, Error> {
    nats.servers()
        .map(|server| {
            let address = server.parse();
            address.map_err(|error: std::io::Error| {
                Error::Connect(format!("nats.url {server}: {error}"))
            })
        })
        .collect()
}

/// Long enough for a silent server before each of the others, and for names that stand for several
/// addresses: the client tries one address after the other, each for `connect_timeout`.
fn connect_deadline(servers: usize, connect_timeout: Duration) -> Duration {
    let attempts = servers + FURTHER_ADDRESSES_MAX;
    connect_timeout * u32::try_from(attempts).unwrap_or(u32::MAX)
}

async fn options(
    nats: &config::Nats,
    name: &str,
    connections: watch::Sender<u64>,
) -> Result<ConnectOptions, Error> {
    let mut options = match &nats.credentials_file {
        Some(file) => ConnectOptions::with_credentials_file(file)
            .await
            .map_err(|error| Error::Connect(format!("reading nats.credentials_file: {error}")))?,
        None => ConnectOptions::new(),
    };
    let choice = Arc::new(ServerChoice::default());
    let connected = Arc::clone(&choice);
    options = options
        .name(name)
        .ping_interval(PING_INTERVAL)
        .connection_timeout(nats.connect_timeout)
        .request_timeout(Some(nats.request_timeout))
        .client_capacity(CLIENT_QUEUE_MAX)
        .reconnect_to_server_callback(move |pool, _| {
            let next = choice.choose(pool);
            async move { next }
        })
        .event_callback(move |event| {
            if matches!(event, Event::Connected) {
                connected.connected();
                connections.send_modify(|count| *count += 1);
                if *connections.borrow() > 1 {
                    telemetry::bus_reconnected();
                }
            }
            async move { note(&event) }
        });
    if let (Some(user), Some(password)) = (&nats.user, &nats.password) {
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    if let Some(file) = &nats.root_ca_file {
        options = options
            .add_root_certificates(file.clone())
            .require_tls(true);
    }
    if let Some(prefix) = &nats.inbox_prefix {
        options = options.custom_inbox_prefix(prefix.clone());
    }
    Ok(options)
}

/// A request without permission ends in a timeout for its sender. The reason is seen here alone.
fn note(event: &Event) {
    match event {
        Event::Connected => {
            telemetry::bus_connected(true);
            tracing::info!("connected to NATS");
        }
        Event::Disconnected => {
            telemetry::bus_connected(false);
            tracing::warn!("disconnected from NATS; connecting again");
        }
        Event::ServerError(error) => {
            telemetry::error("bus", "server_error");
            tracing::error!(error = unnumbered(&error.to_string()), "NATS server error");
        }
        other => tracing::debug!(change = %other, "the connection to NATS changed"),
    }
}

/// The same without its long numbers: the server names subjects, and those have phone numbers.
fn unnumbered(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    for part in text.split_inclusive(|letter: char| !letter.is_ascii_digit()) {
        let digits = part.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        told.push_str(if digits.len() >= PHONE_DIGITS_MIN {
            "…"
        } else {
            digits
        });
        told.push_str(&part[digits.len()..]);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_leaves_room_for_its_envelope_in_what_the_server_takes() {
        assert_eq!(body_bytes_max(8 << 20), (2 << 20) - (64 << 10));
        assert_eq!(body_bytes_max(1 << 20), (1 << 20) - (64 << 10));
        assert_eq!(body_bytes_max(0), BODY_BYTES_MAX_LEAST);
    }

    #[test]
    fn what_the_server_says_names_no_phone_number() {
        for (said, told) in [
            (
                r#"nats: Permissions Violation for Publish to "wa.hold.1.4915112345678""#,
                r#"nats: Permissions Violation for Publish to "wa.hold.1.…""#,
            ),
            (
                r#"to "$KV.wa_webhooks.12.49151""#,
                r#"to "$KV.wa_webhooks.12.…""#,
            ),
            (
                "wa.chat.3.1.4915112345678.c0ffee.01900",
                "wa.chat.3.1.….c0ffee.…",
            ),
            ("authorization timeout 1234", "authorization timeout 1234"),
            ("", ""),
        ] {
            assert_eq!(unnumbered(said), told);
        }
    }
}
