//! Starting the roles.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{cli::Role, keys, readiness::Readiness};
use crate::{
    api,
    bus::Bus,
    config::Config,
    deliver::Deliver,
    egress,
    ingest::{self, Fetch, Fetched, Ingest, Media, MediaError, Reference},
    record::Record,
    replay::Replay,
    store::{self, Store},
    tasks::{TaskKind, Tasks},
    telemetry::Metrics,
};

/// A file that is to be sent: it has to be there while somebody waits for the answer.
const FETCH_DEADLINE: Duration = Duration::from_secs(5);
const FETCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A running node.
pub(super) struct Node {
    pub(super) bus: Bus,
    pub(super) readiness: Readiness,
    /// Stops the taking of new work.
    pub(super) cancel: CancellationToken,
    /// Stops the listener for probes, after all else.
    pub(super) admin_cancel: CancellationToken,
    /// Pull loops and attempts.
    pub(super) tasks: Tasks,
    /// The listeners, which end after all else.
    pub(super) listeners: Tasks,
}

/// Opens what the roles need, binds the ports, and starts them.
pub(super) async fn start(
    config: &Config,
    bus: Bus,
    tasks: Tasks,
    roles: &[Role],
) -> anyhow::Result<Node> {
    let metrics = Metrics::install();
    let keys = keys::keyring(config, &bus).await?;
    bus.load_webhooks(keys, &tasks)
        .await
        .context("loading the webhooks")?;
    let cancel = CancellationToken::new();
    let admin_cancel = CancellationToken::new();
    let plays = |role| roles.contains(&role);

    let store: Option<Arc<dyn Store>> = if plays(Role::Api) || plays(Role::Record) {
        Some(
            store::open(&config.store, &config.cql, &tasks)
                .await
                .context("opening the store")?,
        )
    } else {
        None
    };
    let readiness = Readiness::new(
        bus.clone(),
        store.clone().filter(|_| plays(Role::Record)),
        &tasks,
        &cancel,
    );

    let listeners = tasks.group();
    let upkeep = metrics.clone();
    tasks.keep(TaskKind::MetricsUpkeep, &cancel, {
        let cancel = cancel.clone();
        move || upkeep.clone().keep_up(cancel.clone())
    });
    let admin = TcpListener::bind(config.admin.listen)
        .await
        .with_context(|| format!("binding admin.listen {}", config.admin.listen))?;
    tracing::info!(address = %admin.local_addr()?, "probes and metrics");
    let conditions = readiness.clone();
    let admin_router = api::admin::router(Arc::new(move || conditions.conditions()), metrics);
    let settings = config.api.clone();
    let serving = api::serve(
        admin,
        admin_router,
        settings,
        tasks.clone(),
        admin_cancel.clone(),
    );
    listeners.run(TaskKind::ProbeListener, &admin_cancel, serving);

    if plays(Role::Api) {
        let listener = TcpListener::bind(config.api.listen)
            .await
            .with_context(|| format!("binding api.listen {}", config.api.listen))?;
        tracing::info!(address = %listener.local_addr()?, "admin API");
        let store = store.clone().context("the api role has a store")?;
        Replay::start(
            bus.clone(),
            Arc::clone(&store),
            &config.replay,
            &tasks,
            cancel.clone(),
        );
        let media = media_source(&bus, config, &tasks).await?;
        let router = api::router(api::AppState::new(bus.clone(), store, media, config).await?);
        let settings = config.api.clone();
        let serving = api::serve(listener, router, settings, tasks.clone(), cancel.clone());
        listeners.run(TaskKind::ApiListener, &cancel, serving);
    }
    if plays(Role::Ingest) {
        let open = Arc::new(ingest::sqlite);
        Ingest::start(
            bus.clone(),
            &config.whatsapp,
            fetch(config)?,
            open,
            &tasks,
            cancel.clone(),
        )
        .await
        .context("starting ingest")?;
    }
    if plays(Role::Deliver) {
        let client = egress::Client::new(&config.egress, config.deliver.timeout)
            .context("setting up egress")?;
        let node = node_name();
        Deliver::start(
            bus.clone(),
            &node,
            client,
            &config.deliver,
            &config.bus,
            &tasks,
            cancel.clone(),
        )
        .await
        .context("joining the nodes that deliver")?;
    }
    if plays(Role::Record) {
        let store = store.context("the record role has a store")?;
        Record::start(
            bus.clone(),
            store,
            config.store.retention,
            &tasks,
            cancel.clone(),
        );
    }
    tracing::info!(?roles, "started");
    Ok(Node {
        bus,
        readiness,
        cancel,
        admin_cancel,
        tasks,
        listeners,
    })
}

/// Tells operators the machine, and is no other process's, not even of one that ran here before.
fn node_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host: String = host
        .trim()
        .chars()
        .filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-')
        .collect();
    let host = if host.is_empty() { "node" } else { &host };
    format!(
        "{host}-{}-{:04x}",
        std::process::id(),
        rand::random::<u16>()
    )
}

/// How sessions get files to send: out through the one guarded way.
fn fetch(config: &Config) -> anyhow::Result<Fetch> {
    let client =
        egress::Client::new(&config.egress, FETCH_DEADLINE).context("setting up egress")?;
    Ok(Arc::new(move |url| {
        let client = client.clone();
        Box::pin(async move {
            let file = client.get(&url, FETCH_BYTES_MAX).await?;
            Ok(Fetched {
                bytes: file.bytes,
                content_type: file.content_type,
            })
        })
    }))
}

/// How the API gets media: unsealed with the key that all nodes share, fetched without any session.
async fn media_source(
    bus: &Bus,
    config: &Config,
    tasks: &Tasks,
) -> anyhow::Result<api::MediaSource> {
    let secret = bus
        .shared_keys()
        .media_key()
        .await
        .context("reading the key of media ids")?;
    let media = Media::new(&config.whatsapp, tasks)?;
    Ok(Arc::new(move |client, id| {
        let reference = Reference::unseal(&secret, client, id);
        let media = media.clone();
        Box::pin(async move {
            let reference = reference.ok_or(api::MediaError::Unknown)?;
            media
                .download(&reference)
                .await
                .map_err(|error| match error {
                    MediaError::Busy => api::MediaError::Busy,
                    MediaError::TooLarge => api::MediaError::TooLarge,
                    MediaError::Gone(error) => api::MediaError::Gone(format!("{error:#}")),
                })
        })
    }))
}
