//! A registered webhook.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    ClientId, DeliveryOptions, Format, Kind, NoticeSettings, Phone, SigningKey, SigningSecret,
    Timestamp, WebhookId,
};

/// Why wahook disabled a webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// The endpoint answered 410.
    Gone,
    /// Deliveries failed for days without one success.
    Failing,
}

/// The types of events that a webhook can request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// Received messages.
    Message,
    /// The status of sent messages.
    Receipt,
}

/// The order of a webhook's deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOrder {
    /// None: a later delivery may overtake one that failed.
    #[default]
    None,
    /// Within a chat, a delivery waits until the one before it is delivered or a dead letter.
    Chat,
}

/// The status of a webhook, as its owner sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookStatus {
    /// Deliveries are sent.
    Active,
    /// Deliveries are sent, but the last one became a dead letter.
    Failed,
    /// Its owner paused it, and deliveries are held.
    Paused,
    /// wahook disabled it, and deliveries are held.
    Disabled,
}

/// The endpoint registered for one phone number of one client, as the bus stores it.
///
/// # Examples
///
/// ```
/// use wahook::model::{ClientId, Kind, Timestamp, Webhook, WebhookId, WebhookStatus};
///
/// let mut webhook = Webhook::new(
///     "0193f3a0-0000-7000-8000-000000000001".parse::<WebhookId>()?,
///     ClientId::try_from(1)?,
///     "4915112345678".parse()?,
///     "https://example.com/hook".to_owned(),
///     Timestamp::EPOCH,
/// );
/// assert!(webhook.wants(&Kind::Text) && !webhook.wants(&Kind::Receipt));
/// webhook.is_active = false;
/// assert_eq!(webhook.status(), WebhookStatus::Paused);
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    /// Made at registration. A second registration of the same number keeps it.
    pub id: WebhookId,
    /// The client that owns it.
    pub client_id: ClientId,
    /// The number whose messages it gets.
    pub phone: Phone,
    /// The endpoint.
    pub url: String,
    /// False while its owner has paused it.
    pub is_active: bool,
    /// Why wahook disabled it, if it did.
    pub disabled: Option<DisabledReason>,
    /// Retries after the first attempt: 0 to 20.
    pub max_retries: u16,
    /// The most requests per second.
    pub rate_per_second: u32,
    /// The most requests at once after a pause; the same as the rate when not set.
    #[serde(default)]
    pub burst: Option<u32>,
    /// The most requests in flight.
    pub in_flight: u32,
    /// The waits before the retries, in seconds. There is one retry for each wait. When empty, the
    /// waits double and `max_retries` counts.
    #[serde(default)]
    pub retry_schedule: Vec<u32>,
    /// The order of its deliveries.
    #[serde(default)]
    pub ordering: DeliveryOrder,
    /// Since when all finished deliveries failed.
    #[serde(default)]
    pub failing_since: Option<Timestamp>,
    /// The types of events that it gets.
    #[serde(default = "messages_only")]
    pub event_types: Vec<EventType>,
    /// The current secret first, then older ones that still sign.
    pub secrets: Vec<SigningSecret>,
    /// Set for the client's operational webhook, which gets only these notices.
    #[serde(default)]
    pub operations: Option<NoticeSettings>,
    /// How deliveries are sent.
    #[serde(default)]
    pub sending: DeliveryOptions,
    /// Notes of its owner; never sent to the endpoint.
    pub metadata: Map<String, Value>,
    /// [`Metadata::json`](super::Metadata::json) of the same metadata.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_json: Option<String>,
    /// When it was first registered.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The default of `event_types`.
fn messages_only() -> Vec<EventType> {
    vec![EventType::Message]
}

impl Webhook {
    /// A webhook for messages at a modest rate, without secrets. Callers change the fields that
    /// must differ.
    pub fn new(
        id: WebhookId,
        client_id: ClientId,
        phone: Phone,
        url: String,
        created_at: Timestamp,
    ) -> Self {
        Self {
            id,
            client_id,
            phone,
            url,
            is_active: true,
            disabled: None,
            max_retries: 3,
            rate_per_second: 50,
            burst: None,
            in_flight: 8,
            retry_schedule: Vec::new(),
            ordering: DeliveryOrder::None,
            failing_since: None,
            event_types: messages_only(),
            secrets: Vec::new(),
            operations: None,
            sending: DeliveryOptions::default(),
            metadata: Map::new(),
            metadata_json: None,
            created_at,
            updated_at: created_at,
        }
    }

    /// Whether it gets messages of this kind.
    pub fn wants(&self, kind: &Kind) -> bool {
        let needed = match kind {
            Kind::Receipt => EventType::Receipt,
            // A test shows that the endpoint can be reached, for every type of event.
            Kind::Test => return true,
            Kind::Operational => return self.operations.is_some(),
            _ => EventType::Message,
        };
        self.event_types.contains(&needed)
    }

    /// The most requests at once after a pause.
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(self.rate_per_second).max(1)
    }

    /// The most retries after the first attempt.
    pub fn retries_max(&self) -> u16 {
        if self.retry_schedule.is_empty() {
            self.max_retries
        } else {
            u16::try_from(self.retry_schedule.len()).unwrap_or(u16::MAX)
        }
    }

    /// Whether deliveries are sent now.
    pub fn takes_deliveries(&self) -> bool {
        self.is_active && self.disabled.is_none()
    }

    /// Its status as far as it follows from its settings: never [`WebhookStatus::Failed`].
    pub fn status(&self) -> WebhookStatus {
        match (self.disabled, self.is_active) {
            (Some(_), _) => WebhookStatus::Disabled,
            (None, false) => WebhookStatus::Paused,
            (None, true) => WebhookStatus::Active,
        }
    }

    /// Its status when its last delivery became a dead letter.
    pub fn status_after_dead_letter(&self) -> WebhookStatus {
        match self.status() {
            WebhookStatus::Active => WebhookStatus::Failed,
            stopped => stopped,
        }
    }

    /// The secrets that sign at `now`: the current one first, at most two.
    pub fn signing_secrets(&self, now: Timestamp) -> impl Iterator<Item = &SigningSecret> {
        self.secrets
            .iter()
            .filter(move |secret| secret.expires_at.is_none_or(|end| now < end))
            .take(2)
    }

    /// The keys that sign at `now`: the current one first, at most two.
    pub fn signing_keys(&self, now: Timestamp) -> impl Iterator<Item = &SigningKey> {
        self.sending
            .keys
            .iter()
            .filter(move |key| key.expires_at.is_none_or(|end| now < end))
            .take(2)
    }

    /// Whether anything is signed with the secret. Two formats have signatures of their own.
    pub fn uses_secret(&self) -> bool {
        self.sending.signature.has_hmac()
            || matches!(self.sending.format, Format::Waha | Format::Cloud)
    }

    /// Makes a new secret the current one. The one before it signs until `end`; older ones are
    /// removed.
    pub fn rotate_secret(&mut self, new: SigningSecret, end: Timestamp) {
        self.secrets.truncate(1);
        self.secrets
            .iter_mut()
            .for_each(|old| old.expires_at = Some(end));
        self.secrets.insert(0, new);
    }

    /// Makes a new key pair the current one, as [`Self::rotate_secret`] does for secrets.
    pub fn rotate_key(&mut self, new: SigningKey, end: Timestamp) {
        self.sending.keys.truncate(1);
        self.sending
            .keys
            .iter_mut()
            .for_each(|old| old.expires_at = Some(end));
        self.sending.keys.insert(0, new);
    }
}
