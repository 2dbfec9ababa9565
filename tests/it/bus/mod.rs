//! The bus room on a real server.

mod chat_queues;
mod late_reading;
mod listing;
mod parked;
mod pull;
mod reclaim;
mod session_keys;
mod tls;
mod watch;
mod webhooks;

use std::collections::HashSet;

use serde_json::{Map, Value, json};
use uuid::Uuid;
use wahook::{
    model::{
        ClientId, Delivery, EventId, Kind, Message, Phone, Priority, SigningSecret, Timestamp,
        Webhook, WebhookId,
    },
    wire,
};

use crate::support::nats::NatsServer;

fn client(id: u64) -> ClientId {
    ClientId::try_from(id).expect("in range")
}

fn phone(text: &str) -> Phone {
    text.parse().expect("valid")
}

fn message(client_id: u64, number: &str, id: &str) -> Message {
    Message {
        client_id: client(client_id),
        phone: phone(number),
        message_id: id.parse().expect("valid"),
        chat: "4915100000001".to_owned(),
        from: "4915100000001".to_owned(),
        to: number.to_owned(),
        timestamp: Timestamp::EPOCH,
        kind: Kind::Text,
        content: "line\r\nbreak".to_owned(),
        metadata: Map::new(),
        metadata_json: None,
    }
}

fn delivery(event: u128) -> Delivery {
    let message = message(1, "4915112345678", "M1");
    Delivery {
        event_id: EventId(Uuid::from_u128(event)),
        webhook_id: WebhookId(Uuid::from_u128(7)),
        client_id: message.client_id,
        body: wire::webhook_body(&message),
        phone: message.phone,
        message_id: message.message_id,
        kind: message.kind,
        created_at: Timestamp::EPOCH,
        attempt_count: 1,
        attempts_this_round: 1,
        priority: Priority::Normal,
        chat_key: None,
    }
}

fn webhook(client_id: u64, number: &str) -> Webhook {
    let id = WebhookId(Uuid::now_v7());
    let url = "https://example.com/".to_owned();
    Webhook {
        secrets: vec![SigningSecret::from_key(&[1; 32])],
        ..Webhook::new(id, client(client_id), phone(number), url, Timestamp::EPOCH)
    }
}

fn now() -> Timestamp {
    Timestamp::from_system(std::time::SystemTime::now())
}

#[tokio::test]
async fn apply_creates_once_and_check_names_each_difference() {
    let server = NatsServer::start().await;
    let bus = server.connect().await;
    let missing = bus.check().await.expect("answers");
    assert_eq!(
        missing.len(),
        19 + 3 * usize::from(bus.partition_count()) + 1
    );
    assert!(
        missing
            .iter()
            .any(|one| one.to_string() == "stream WA_MSG is missing")
    );
    assert_eq!(bus.apply().await.expect("applies").len(), missing.len());
    assert_eq!(bus.check().await.expect("answers"), []);
    assert_eq!(
        bus.apply().await.expect("applies"),
        [],
        "a second time changes nothing"
    );

    let context = server.jetstream().await;
    let mut info: Value = context
        .request("STREAM.INFO.WA_DLQ", &())
        .await
        .expect("answers");
    info["config"]["max_age"] = json!(600_000_000_000_u64);
    let updated: Value = context
        .request("STREAM.UPDATE.WA_DLQ", &info["config"])
        .await
        .expect("answers");
    assert!(updated["error"].is_null(), "{updated}");
    let differences: Vec<_> = bus
        .check()
        .await
        .expect("answers")
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        differences,
        ["stream WA_DLQ: max_age is 600000000000, declared 2592000000000000"]
    );
    assert_eq!(bus.apply().await.expect("applies").len(), 1);
    assert_eq!(bus.check().await.expect("answers"), []);
}

#[tokio::test]
async fn our_partition_is_the_one_that_the_server_stores_under() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let context = server.jetstream().await;
    let mut used = HashSet::new();
    for number in 0..60_u64 {
        let message = message(
            number * 7919 + 1,
            &format!("49{:010}", number * 104_729 + 1),
            "M1",
        );
        let published = bus.publish_message(&message).await.expect("publishes");
        let request = json!({"seq": published.sequence});
        let stored: Value = context
            .request("STREAM.MSG.GET.WA_MSG", &request)
            .await
            .expect("answers");
        let ours = bus.partition_of(message.client_id, &message.phone);
        let expected = format!(
            "wa.msg.{ours}.{}.{}",
            message.client_id,
            message.phone.as_str()
        );
        assert_eq!(stored["message"]["subject"], expected.as_str());
        used.insert(ours);
    }
    assert_eq!(used.len(), usize::from(bus.partition_count()));
}
