//! The endpoints of a run, and their registration in bulk.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde_json::Map;
use tokio::task::JoinSet;
use uuid::Uuid;
use wahook::{
    bus::Bus,
    model::{
        ClientId, Delivery, EventId, Kind, Message, Phone, Priority, SigningSecret, Timestamp,
        Webhook, WebhookId,
    },
};

use crate::sink::ID_PREFIX;

/// Rate limits are not what most runs measure.
pub(crate) const UNLIMITED: u32 = 100_000;
/// About 1 KiB of body with its frame.
pub(crate) const CONTENT_BYTES: usize = 700;
/// What all webhooks' signatures are made with.
pub(crate) const KEY: [u8; 32] = [7; 32];
/// Registrations and parkings under way at once.
const SIDE_BY_SIDE: usize = 128;
/// Nothing listens there.
const CLOSED_PORT: u16 = 1;

/// What an endpoint does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// 204 at once.
    Ok,
    /// 204 after [`crate::sink::SLOW`].
    Slow,
    /// 500 at the first attempt of one message in ten, otherwise 204.
    Flaky,
    /// 429 with `Retry-After` to all above [`crate::sink::LIMIT`] a second.
    Limited,
    /// Takes it and never answers.
    Hang,
    /// Takes no connection.
    Refuse,
}

impl Manner {
    /// Whether all of its messages are delivered in the end, and without much ado.
    pub(crate) fn is_well(self) -> bool {
        matches!(self, Self::Ok | Self::Slow | Self::Flaky)
    }

    /// Where such an endpoint is.
    pub(crate) fn url(self, sink_port: u16, endpoint: u32) -> String {
        let path = match self {
            Self::Ok => "ok",
            Self::Slow => "slow",
            Self::Flaky => "flaky",
            Self::Limited => "limited",
            Self::Hang => "hang",
            Self::Refuse => return format!("http://127.0.0.1:{CLOSED_PORT}/{endpoint}"),
        };
        format!("http://127.0.0.1:{sink_port}/{path}/{endpoint}")
    }
}

/// Who does what.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mix {
    All(Manner),
    /// Every so many-th does this, the others are well.
    Every(u32, Manner),
    /// Of ten, one each is slow, flaky, limited, hanging and refusing.
    Mixed,
}

impl Mix {
    pub(crate) fn of(self, endpoint: u32) -> Manner {
        match (self, endpoint % 10) {
            (Self::All(manner), _) => manner,
            (Self::Every(step, manner), _) if (endpoint + 1).is_multiple_of(step) => manner,
            (Self::Mixed, 1) => Manner::Slow,
            (Self::Mixed, 3) => Manner::Flaky,
            (Self::Mixed, 5) => Manner::Limited,
            (Self::Mixed, 7) => Manner::Hang,
            (Self::Mixed, 9) => Manner::Refuse,
            _ => Manner::Ok,
        }
    }
}

/// An endpoint to be registered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Endpoint {
    pub(crate) number: u32,
    pub(crate) manner: Manner,
    pub(crate) rate_per_second: u32,
}

/// Whose all endpoints are.
pub(crate) fn client() -> ClientId {
    ClientId::try_from(1).expect("one is a client id")
}

/// The number of an endpoint.
pub(crate) fn phone(endpoint: u32) -> Phone {
    format!("49{:09}", endpoint + 1)
        .parse()
        .expect("eleven digits")
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

impl Endpoint {
    fn webhook(self, sink_port: u16) -> Webhook {
        let Self {
            number,
            manner,
            rate_per_second,
        } = self;
        let url = manner.url(sink_port, number);
        Webhook {
            rate_per_second,
            secrets: vec![SigningSecret::from_key(&KEY)],
            ..Webhook::new(
                WebhookId(Uuid::now_v7()),
                client(),
                phone(number),
                url,
                now(),
            )
        }
    }
}

/// Registers all, many at a time.
pub(crate) async fn register(
    bus: &Bus,
    port: u16,
    endpoints: impl IntoIterator<Item = Endpoint>,
) -> anyhow::Result<()> {
    side_by_side(bus, endpoints, move |bus, endpoint| async move {
        let webhook = endpoint.webhook(port);
        bus.webhooks()
            .register(client(), &phone(endpoint.number), |_| webhook.clone())
            .await?;
        Ok(())
    })
    .await
}

/// Parks so many retries, all of the endpoint's, due after `wait`.
pub(crate) async fn park(
    bus: &Bus,
    endpoint: u32,
    many: u32,
    wait: Duration,
) -> anyhow::Result<()> {
    let webhook = bus
        .webhooks()
        .fetch_by_phone(client(), &phone(endpoint))
        .await?;
    let webhook_id = webhook
        .ok_or_else(|| anyhow::anyhow!("the endpoint is not registered"))?
        .id;
    let at = now().after(wait);
    side_by_side(bus, 0..many, move |bus, number| async move {
        let message = message(number, endpoint);
        let delivery = Delivery {
            event_id: EventId(Uuid::now_v7()),
            webhook_id,
            client_id: client(),
            phone: message.phone,
            message_id: format!("PARKED{number}")
                .parse()
                .expect("letters and digits"),
            kind: Kind::Text,
            created_at: message.timestamp,
            body: Bytes::from(message.content),
            attempt_count: 1,
            attempts_this_round: 1,
            priority: Priority::Normal,
            chat_key: None,
        };
        bus.park(&delivery, at).await?;
        Ok(())
    })
    .await
}

/// Does something for all of these, many at a time; the first error ends it.
async fn side_by_side<T, F>(
    bus: &Bus,
    all: impl IntoIterator<Item = T>,
    act: impl Fn(Bus, T) -> F,
) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<()>> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    for one in all {
        if tasks.len() >= SIDE_BY_SIDE
            && let Some(done) = tasks.join_next().await
        {
            done??;
        }
        tasks.spawn(act(bus.clone(), one));
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// A message for an endpoint.
pub(crate) fn message(number: u32, endpoint: u32) -> Message {
    let phone = phone(endpoint);
    Message {
        client_id: client(),
        message_id: format!("{ID_PREFIX}{number}")
            .parse()
            .expect("letters and digits"),
        chat: "4915100000000".to_owned(),
        from: "4915100000000".to_owned(),
        to: phone.as_str().to_owned(),
        phone,
        timestamp: now(),
        kind: Kind::Text,
        content: "x".repeat(CONTENT_BYTES),
        metadata: Map::new(),
        metadata_json: None,
    }
}
