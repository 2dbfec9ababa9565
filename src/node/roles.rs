//! Starting the roles.

use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{cli::Role, keys, open_files, readiness::Readiness, whatsapp};
use crate::{
    api,
    bus::{Bus, Recount},
    config::Config,
    deliver::Deliver,
    egress,
    record::Record,
    replay::Replay,
    store::{self, Store},
    tasks::{TaskKind, Tasks},
    telemetry::{self, Metrics},
};

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
    for kind in TaskKind::ALL {
        telemetry::task_kind(kind.as_str());
    }
    let keys = keys::keyring(config, &bus).await?;
    let plays = |role| roles.contains(&role);
    // Results name webhooks by their ids alone.
    if roles == [Role::Record] {
        bus.load_keys(keys).await.context("checking the keys")?;
        bus.start_pulse(&tasks)
            .await
            .context("reading the clock of nats-server")?;
    } else {
        bus.load_webhooks(keys, &tasks)
            .await
            .context("loading the webhooks")?;
    }
    let cancel = CancellationToken::new();

    let store = if plays(Role::Api) || plays(Role::Record) {
        let opened = store::open(&config.store, &config.cql, &tasks).await;
        Some(opened.context("opening the store")?)
    } else {
        None
    };
    let probed_store = store.clone().filter(|_| plays(Role::Record));
    let node = Node {
        readiness: Readiness::new(bus.clone(), probed_store, &tasks, &cancel),
        bus,
        cancel,
        admin_cancel: CancellationToken::new(),
        listeners: tasks.group(),
        tasks,
    };

    node.start_admin(config, metrics).await?;
    if roles.iter().any(|role| *role != Role::Record) {
        node.start_counting(roles).await?;
    }
    if plays(Role::Api) {
        let store = store.clone().context("the api role has a store")?;
        node.start_api(config, store).await?;
    }
    if plays(Role::Ingest) {
        let bus = node.bus.clone();
        whatsapp::start_ingest(bus, config, &node.tasks, node.cancel.clone()).await?;
    }
    if plays(Role::Deliver) {
        node.start_deliver(config).await?;
    }
    if plays(Role::Record) {
        let store = store.context("the record role has a store")?;
        node.start_record(config, store);
    }
    node.readiness.started();
    tracing::info!(?roles, "started");
    Ok(node)
}

impl Node {
    /// Serves probes and metrics, whatever the roles.
    async fn start_admin(&self, config: &Config, metrics: Metrics) -> anyhow::Result<()> {
        let upkeep = metrics.clone();
        let cancel = self.cancel.clone();
        self.tasks
            .keep(TaskKind::MetricsUpkeep, &self.cancel, move || {
                upkeep.clone().keep_up(cancel.clone())
            });
        let listener = TcpListener::bind(config.admin.listen)
            .await
            .with_context(|| format!("binding admin.listen {}", config.admin.listen))?;
        tracing::info!(address = %listener.local_addr()?, "probes and metrics");
        let readiness = self.readiness.clone();
        let router = api::admin::router(Arc::new(move || readiness.conditions()), metrics);
        let serving = api::serve(
            listener,
            router,
            api::Limits::probes(&config.api),
            self.tasks.clone(),
            self.admin_cancel.clone(),
        );
        self.listeners
            .run(TaskKind::ProbeListener, &self.admin_cancel, serving);
        Ok(())
    }

    /// Loads what clients may, and counts what they have.
    async fn start_counting(&self, roles: &[Role]) -> anyhow::Result<()> {
        let loaded = self.bus.client_limits().load(&self.tasks).await;
        loaded.context("loading the limits of clients")?;
        let recount = if roles.contains(&Role::Api) {
            self.bus.report_usage(&self.tasks, &self.cancel);
            Recount::Yes
        } else {
            Recount::No
        };
        self.bus.count_usage(&self.tasks, &self.cancel, recount);
        Ok(())
    }

    /// Serves the admin API, and starts the jobs that it creates.
    async fn start_api(&self, config: &Config, store: Arc<dyn Store>) -> anyhow::Result<()> {
        let listener = TcpListener::bind(config.api.listen)
            .await
            .with_context(|| format!("binding api.listen {}", config.api.listen))?;
        tracing::info!(address = %listener.local_addr()?, "admin API");
        Replay::start(
            self.bus.clone(),
            Arc::clone(&store),
            &config.replay,
            &self.tasks,
            self.cancel.clone(),
        );
        let media = whatsapp::media_source(&self.bus, config, &self.tasks).await?;
        let state = api::AppState::new(self.bus.clone(), store, media, config).await?;
        let serving = api::serve(
            listener,
            api::router(state),
            api::Limits::api(&config.api),
            self.tasks.clone(),
            self.cancel.clone(),
        );
        self.listeners
            .run(TaskKind::ApiListener, &self.cancel, serving);
        Ok(())
    }

    async fn start_deliver(&self, config: &Config) -> anyhow::Result<()> {
        let client = egress::Client::new(&config.egress, config.deliver.timeout, &self.tasks)
            .context("setting up egress")?
            .keep_idle(open_files::idle_connections_max(), egress::IDLE_TIMEOUT);
        Deliver::start(
            self.bus.clone(),
            &node_name(),
            client,
            config,
            &self.tasks,
            self.cancel.clone(),
        )
        .await
        .context("joining the nodes that deliver")
    }

    fn start_record(&self, config: &Config, store: Arc<dyn Store>) {
        Record::start(
            self.bus.clone(),
            store,
            config.store.retention,
            &self.tasks,
            self.cancel.clone(),
        );
    }
}

/// The machine's name, for operators, with a part that no other process has, not even an earlier
/// one on this machine.
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
