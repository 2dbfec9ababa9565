//! A chat whose messages go one after the other never stands still, whatever becomes of its first
//! message.

mod crashes;
mod exits;
mod faults;
mod handover;
mod registration;
mod room;

use std::time::{Duration, SystemTime};

use serde_json::Value;
use wahook::model::{ClientId, Delivery, EventId, Kind, Priority, Timestamp, WebhookId};

use crate::support::{
    app::{App, Client, eventually_within},
    receiver::Receiver,
};

const PHONE: &str = "4915112345678";
const CHAT: &str = "4915100000001";
/// Retries that do not come by themselves while a test lasts.
const LATE: (&str, &str) = ("DELIVER__RETRY_BASE", "10m");

async fn publish(client: &Client, chat: &str, id: &str, kind: &str) {
    client.publish_from(PHONE, chat, id, kind).await;
}

/// Publishes a text that cannot be delivered now; its event.
async fn waits(client: &Client, webhook: &Value, id: &str) -> Value {
    publish(client, CHAT, id, "text").await;
    client.event_when(webhook, id, "pending").await
}

/// Each once, in the order in which they first came.
fn first(receiver: &Receiver) -> Vec<String> {
    let mut seen = Vec::new();
    for id in receiver.ids() {
        if !seen.contains(&id) {
            seen.push(id);
        }
    }
    seen
}

async fn ordered(client: &Client, receiver: &Receiver) -> Value {
    client.register_ordered(PHONE, &receiver.url("/")).await
}

fn path(webhook: &Value) -> String {
    format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"))
}

/// A message as `deliver` takes it up, for tests that do what a node did before it died.
fn delivery(webhook: &Value, id: &str) -> Delivery {
    let created_at = Timestamp::from_system(SystemTime::now());
    let webhook_id = WebhookId(
        webhook["id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .expect("an id"),
    );
    let message_id = id.parse().expect("valid");
    Delivery {
        event_id: EventId::derive(created_at, webhook_id, CHAT, CHAT, &message_id, &Kind::Text),
        webhook_id,
        client_id: ClientId::try_from(1).expect("in range"),
        phone: PHONE.parse().expect("valid"),
        message_id,
        kind: Kind::Text,
        created_at,
        body: format!(r#"{{"message_id":"{id}"}}"#).into_bytes().into(),
        attempt_count: 0,
        attempts_this_round: 0,
        priority: Priority::Normal,
        chat_key: "c0ffee".to_owned().try_into().ok(),
    }
}

/// Waits longer than [`eventually`](crate::support::app::eventually): for what takes several
/// `bus.ack_wait`s.
async fn at_last(what: &str, mut ask: impl AsyncFnMut() -> bool) {
    let ask = async || ask().await.then_some(());
    eventually_within(Duration::from_secs(100), what, ask).await;
}

/// Waits until no chat waits, and nothing else does.
async fn nothing_is_left(app: &App) {
    for stream in ["WA_CHAT", "WA_MSG", "WA_RETRY"] {
        at_last(&format!("{stream} is empty"), async || {
            app.nats.messages(stream).await == 0
        })
        .await;
    }
}
