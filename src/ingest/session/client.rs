//! Setting up a session's client, and stopping it.

use std::{
    sync::{Arc, atomic::AtomicI64},
    time::Duration,
};

use anyhow::Context as _;
use tokio::{sync::Notify, time::timeout};
use tracing::Instrument as _;
use whatsapp_rust::{
    bot::BotHandle,
    pair_code::PairCodeOptions,
    prelude::{Bot, TokioRuntime},
    transport::TokioWebSocketTransportFactory,
    wacore::store::DevicePropsOverride,
    waproto::whatsapp::device_props::PlatformType,
};

use super::events::EventForwarder;
use crate::{
    bus::Lease,
    ingest::{backend::Fenced, context::Context, hook::Publisher, storage::Opened},
    model::{PairingMethod, Phone, Session},
    tasks::{End, TaskKind, Tasks},
};

/// How long a session waits for its client to disconnect. That flushes keys, which takes the client
/// up to 10 s.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(12);
/// How long the client may go on with that after nobody waits for it any more.
const SHUTDOWN_MAX: Duration = Duration::from_secs(60);

/// What a session's client is made from.
#[derive(Clone, Copy)]
pub(super) struct ClientSetup<'a> {
    pub(super) context: &'a Context,
    pub(super) session: &'a Session,
    pub(super) lease: &'a Lease,
    pub(super) tasks: &'a Tasks,
}

impl ClientSetup<'_> {
    /// The hook that publishes what the client receives.
    pub(super) fn publisher(&self) -> Publisher {
        Publisher {
            bus: self.context.bus.clone(),
            session: self.session.clone(),
            media_secret: Arc::clone(&self.context.media_secret),
            publish_timeout: self.context.settings.publish_patience,
            offline: Arc::new(Notify::new()),
            last_message: Arc::new(AtomicI64::new(0)),
            unread: Arc::default(),
            polls: Arc::default(),
            seen: Arc::default(),
            span: tracing::Span::current(),
        }
    }

    /// The client, not yet running, on its keys. `linked` is the number that the session is linked
    /// to.
    pub(super) async fn bot(
        &self,
        keys: Fenced,
        linked: Option<&Phone>,
        publisher: Publisher,
        forwarder: EventForwarder,
    ) -> anyhow::Result<Bot> {
        let settings = &self.context.settings;
        let props = DevicePropsOverride::new()
            .with_os(&settings.device_name)
            .with_platform_type(PlatformType::CHROME);
        let mut builder = Bot::builder()
            .with_backend(keys)
            .with_transport_factory(TokioWebSocketTransportFactory::new().with_url(&settings.url))
            .with_http_client(self.context.http.clone())
            .with_runtime(TokioRuntime)
            .with_version(self.context.version().await?)
            .with_device_props(props)
            .skip_history_sync()
            .with_inbound_durability_hook(publisher)
            .with_event_handler(forwarder);
        if let Some(phone_number) = self.phone_for_pair_code(linked) {
            builder = builder.with_pair_code(PairCodeOptions {
                phone_number,
                ..Default::default()
            });
        }
        builder
            .build()
            .await
            .context("setting up the WhatsApp client")
    }

    /// Opens the session's keys. `known` is the number of the last record that they are known to
    /// have.
    pub(super) async fn open_keys(&self, known: Option<u64>) -> anyhow::Result<Opened> {
        let storage = &self.context.storage;
        storage
            .open(self.session.id, self.lease, known, self.tasks)
            .await
    }

    /// The number to ask a pairing code for: only of a session that is to be linked that way.
    fn phone_for_pair_code(&self, linked: Option<&Phone>) -> Option<String> {
        let wants_code = self.session.method == PairingMethod::Code && linked.is_none();
        let phone = self.session.phone.as_ref().filter(|_| wants_code)?;
        Some(phone.as_str().to_owned())
    }
}

/// How a client's shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shutdown {
    Done,
    /// It may still write: only a new lease fences it off.
    Unfinished,
}

/// Disconnects a client. One that takes longer than [`SHUTDOWN_TIMEOUT`] goes on by itself for a
/// while: dropped halfway, it would leave its connection open, and WhatsApp would go on handing out
/// messages to nobody.
pub(super) async fn stop(tasks: &Tasks, handle: BotHandle) -> Shutdown {
    let stopping = async move { timeout(SHUTDOWN_MAX, handle.shutdown()).await };
    let stopping = tasks.once(TaskKind::ClientShutdown, stopping.in_current_span());
    match timeout(SHUTDOWN_TIMEOUT, stopping).await {
        Ok(Ok(End::Ok)) => return Shutdown::Done,
        Ok(Ok(End::Panic)) => tracing::warn!("the client panicked while it stopped"),
        Ok(_) | Err(_) => tracing::warn!("the client has not stopped in time"),
    }
    Shutdown::Unfinished
}
