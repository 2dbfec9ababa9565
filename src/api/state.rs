//! What handlers share.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use tokio::time::timeout;
use uuid::Uuid;

use super::{
    auth::WRONG_TOKENS_PER_MINUTE, client_lock::ClientLocks, media::MediaSource, pages::EventPages,
    problem::Problem, quotas::PublishRates,
};
use crate::{
    bus::{self, Bus},
    config::{self, Config},
    model::{ClientId, Phone, Webhook, WebhookId, WebhookState},
    policy::KeyedLimiter,
    store::Store,
    tasks::HeavyWork,
};

/// How long a request waits for the state of webhooks. After that it shows them without it.
const STATE_TIMEOUT: Duration = Duration::from_secs(2);

/// Shared by all handlers; clones are cheap.
#[derive(Clone)]
pub struct AppState {
    pub(super) bus: Bus,
    pub(super) store: Arc<dyn Store>,
    pub(super) settings: Arc<config::Api>,
    pub(super) deliver: Arc<config::Deliver>,
    pub(super) egress: Arc<config::Egress>,
    pub(super) replay: Arc<config::Replay>,
    pub(super) registrations: Arc<KeyedLimiter>,
    /// By the network of the peer.
    pub(super) wrong_tokens: Arc<KeyedLimiter<IpAddr>>,
    pub(super) locks: ClientLocks,
    pub(super) event_pages: Arc<EventPages>,
    /// By client; what has none is a client of its own.
    pub(super) heavy: Arc<HeavyWork<Option<ClientId>>>,
    pub(super) publish_rates: Arc<PublishRates>,
    pub(super) cursor_key: Arc<[u8; 32]>,
    pub(super) media: MediaSource,
}

impl AppState {
    /// Reads the key that cursors are sealed with.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn new(
        bus: Bus,
        store: Arc<dyn Store>,
        media: MediaSource,
        config: &Config,
    ) -> Result<Self, bus::Error> {
        Ok(Self {
            cursor_key: Arc::new(bus.shared_keys().cursor_key().await?),
            bus,
            store,
            media,
            wrong_tokens: Arc::new(KeyedLimiter::new(WRONG_TOKENS_PER_MINUTE)),
            event_pages: Arc::default(),
            heavy: Arc::default(),
            locks: ClientLocks::new(&Uuid::now_v7().to_string()),
            registrations: Arc::new(KeyedLimiter::new(config.api.registrations_per_minute)),
            publish_rates: Arc::default(),
            settings: Arc::new(config.api.clone()),
            deliver: Arc::new(config.deliver.clone()),
            replay: Arc::new(config.replay.clone()),
            egress: Arc::new(config.egress.clone()),
        })
    }

    /// A webhook of this client; another client's answers like an absent one.
    pub(super) async fn webhook(
        &self,
        client: ClientId,
        id: WebhookId,
    ) -> Result<Arc<Webhook>, Problem> {
        let webhook = self.bus.webhooks().by_id(client, id).await?;
        webhook.ok_or_else(Problem::not_found)
    }

    /// The states of webhooks; `None` when the store does not answer.
    pub(super) async fn states(
        &self,
        client: ClientId,
        webhooks: &[WebhookId],
    ) -> Option<HashMap<WebhookId, WebhookState>> {
        match timeout(STATE_TIMEOUT, self.store.states(client, webhooks)).await {
            Ok(Ok(states)) => Some(states),
            Ok(Err(error)) => {
                let error = crate::telemetry::report(&error);
                tracing::warn!(error, "webhooks are shown without their state");
                None
            }
            Err(_) => None,
        }
    }

    /// How many deliveries are held for each number of a client, or for `phone` alone; `None` when
    /// the bus does not answer.
    pub(super) async fn held(
        &self,
        client: ClientId,
        phone: Option<&Phone>,
    ) -> Option<HashMap<String, u64>> {
        match timeout(STATE_TIMEOUT, self.bus.held_counts(client, phone)).await {
            Ok(Ok(counts)) => Some(counts),
            Ok(Err(error)) => {
                tracing::warn!(%error, "webhooks are shown without held_count");
                None
            }
            Err(_) => None,
        }
    }
}
