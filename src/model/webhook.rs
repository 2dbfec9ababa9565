//! A registered webhook.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{
    ClientId, DeliveryOptions, Format, Kind, NoticeSettings, Phone, SigningKey, SigningSecret,
    Timestamp, WebhookId,
};

/// Largest burst, as seconds of the rate: what a limiter must remember to be exact.
pub const BURST_SECONDS_MAX: u32 = 60;

/// Why deliveries to a webhook were stopped without its owner's asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisabledReason {
    /// It answered 410.
    Gone,
    /// It failed for days without one success.
    Failing,
}

/// What a webhook can ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EventType {
    /// Messages that came in.
    Message,
    /// What became of messages that were sent.
    Receipt,
}

/// What a webhook's messages wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryOrder {
    /// Each goes when it can: a later one may overtake one that failed.
    #[default]
    None,
    /// In a chat, each waits until the one before it is delivered or given up.
    Chat,
}

/// How a webhook stands, for its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WebhookStatus {
    /// Takes deliveries.
    Active,
    /// Takes deliveries, but the last one was given up.
    Failed,
    /// Its owner paused it: deliveries are held.
    Paused,
    /// Stopped by wahook: deliveries are held.
    Disabled,
}

/// One endpoint for one phone number of one client, as the bus keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Webhook {
    /// Made at registration; a second registration of the same number keeps it.
    pub id: WebhookId,
    /// Whose it is.
    pub client_id: ClientId,
    /// Whose messages it gets.
    pub phone: Phone,
    /// Where they go.
    pub url: String,
    /// False while its owner has it paused.
    pub is_active: bool,
    /// Set when wahook stopped it.
    pub disabled: Option<DisabledReason>,
    /// Tries after the first one: 0 to 20.
    pub max_retries: u16,
    /// Requests per second that it gets at most.
    pub rate_per_second: u32,
    /// Requests at once after a pause; as many as the rate when not set.
    #[serde(default)]
    pub burst: Option<u32>,
    /// Requests under way at once.
    pub in_flight: u32,
    /// Waits before each retry, in seconds, in place of doubling ones; empty: doubling ones. When
    /// set, there are as many retries as it has waits.
    #[serde(default)]
    pub retry_schedule: Vec<u32>,
    /// Whether the order of messages matters more than each one's speed.
    #[serde(default)]
    pub ordering: DeliveryOrder,
    /// Since when deliveries were given up without one success between.
    #[serde(default)]
    pub failing_since: Option<Timestamp>,
    /// What it gets.
    #[serde(default = "messages_only")]
    pub event_types: Vec<EventType>,
    /// The current secret first, then older ones that still sign.
    pub secrets: Vec<SigningSecret>,
    /// Set when it is the client's operational webhook, which gets this and nothing else.
    #[serde(default)]
    pub operations: Option<NoticeSettings>,
    /// How deliveries are sent.
    #[serde(default)]
    pub sending: DeliveryOptions,
    /// The owner's own notes; never sent to the endpoint.
    pub metadata: Map<String, Value>,
    /// First registration.
    pub created_at: Timestamp,
    /// Last change.
    pub updated_at: Timestamp,
}

/// What webhooks get that do not ask for anything else.
fn messages_only() -> Vec<EventType> {
    vec![EventType::Message]
}

impl Webhook {
    /// One that takes messages at a modest pace, without secrets; callers change what they want
    /// otherwise.
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
            created_at,
            updated_at: created_at,
        }
    }

    /// Whether it asks for what this kind is.
    pub fn wants(&self, kind: &Kind) -> bool {
        let needed = match kind {
            Kind::Receipt => EventType::Receipt,
            // A test shows that the endpoint can be reached, whatever it asks for.
            Kind::Test => return true,
            Kind::Operational => return self.operations.is_some(),
            _ => EventType::Message,
        };
        self.event_types.contains(&needed)
    }

    /// Requests at once after a pause.
    pub fn burst(&self) -> u32 {
        self.burst.unwrap_or(self.rate_per_second).max(1)
    }

    /// Tries after the first one.
    pub fn retries_max(&self) -> u16 {
        if self.retry_schedule.is_empty() {
            self.max_retries
        } else {
            u16::try_from(self.retry_schedule.len()).unwrap_or(u16::MAX)
        }
    }

    /// Whether deliveries go out now.
    pub fn takes_deliveries(&self) -> bool {
        self.is_active && self.disabled.is_none()
    }

    /// How it stands, given whether its last delivery was given up.
    pub fn status(&self, last_failed: bool) -> WebhookStatus {
        match (self.disabled, self.is_active) {
            (Some(_), _) => WebhookStatus::Disabled,
            (None, false) => WebhookStatus::Paused,
            (None, true) if last_failed => WebhookStatus::Failed,
            (None, true) => WebhookStatus::Active,
        }
    }

    /// The secrets that sign at `now`: current first, at most two.
    pub fn signing_secrets(&self, now: Timestamp) -> impl Iterator<Item = &SigningSecret> {
        self.secrets
            .iter()
            .filter(move |secret| secret.expires_at.is_none_or(|end| now < end))
            .take(2)
    }

    /// The keys that sign at `now`, likewise.
    pub fn signing_keys(&self, now: Timestamp) -> impl Iterator<Item = &SigningKey> {
        self.sending
            .keys
            .iter()
            .filter(move |key| key.expires_at.is_none_or(|end| now < end))
            .take(2)
    }

    /// Whether the signing secret signs anything: two formats bring signatures of their own.
    pub fn uses_secret(&self) -> bool {
        self.sending.signature.has_hmac()
            || matches!(self.sending.format, Format::Waha | Format::Cloud)
    }

    /// Puts a new secret before the present one, which goes on signing until `end`; what is older
    /// ends now.
    pub fn rotate_secret(&mut self, new: SigningSecret, end: Timestamp) {
        self.secrets.truncate(1);
        self.secrets
            .iter_mut()
            .for_each(|old| old.expires_at = Some(end));
        self.secrets.insert(0, new);
    }

    /// The same for the key pair.
    pub fn rotate_key(&mut self, new: SigningKey, end: Timestamp) {
        self.sending.keys.truncate(1);
        self.sending
            .keys
            .iter_mut()
            .for_each(|old| old.expires_at = Some(end));
        self.sending.keys.insert(0, new);
    }
}
