//! Little storage: what the streams reserve, and what goes on when they are full.

mod full;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use wahook::{
    bus::{Bus, Error},
    config::Config,
    model::{ClientId, Delivery, EventId, Kind, Message, Phone, Priority, Timestamp, WebhookId},
    wire::{self, DeadLetter},
};

use crate::support::nats::NatsServer;

const PHONE: &str = "4915112345678";
const KIB: usize = 1024;
const MIB: u64 = 1024 * 1024;

/// An account as managed NATS gives it: each stream has to say how much it wants.
fn account(max_file: &str) -> String {
    format!(
        "max_payload: 2MB\n\
         jetstream {{ max_file_store: 20GB, sync_interval: 100ms }}\n\
         no_auth_user: a\n\
         accounts {{ A {{ jetstream: {{ max_bytes_required: true, max_file: {max_file} }}, \
         users: [{{user: a, password: a}}] }} }}"
    )
}

fn server_with(max_file_store: &str) -> String {
    format!(
        "max_payload: 2MB\njetstream {{ max_file_store: {max_file_store}, sync_interval: 100ms }}"
    )
}

fn client() -> ClientId {
    ClientId::try_from(1).expect("in range")
}

fn phone() -> Phone {
    PHONE.parse().expect("valid")
}

fn delivery(event: u128, body_bytes: usize) -> Delivery {
    Delivery {
        event_id: EventId(Uuid::from_u128(event)),
        webhook_id: WebhookId(Uuid::from_u128(7)),
        client_id: client(),
        phone: phone(),
        message_id: "M1".parse().expect("valid"),
        kind: Kind::Text,
        created_at: Timestamp::EPOCH,
        body: Bytes::from(vec![b'x'; body_bytes]),
        attempt_count: 1,
        attempts_this_round: 1,
        priority: Priority::Normal,
        chat_key: None,
    }
}

fn letter(event: u128, body_bytes: usize) -> DeadLetter {
    DeadLetter {
        delivery: delivery(event, body_bytes),
        reason: "refused".to_owned(),
        http_status: Some(400),
        at: Timestamp::EPOCH,
    }
}

fn message() -> Message {
    Message {
        client_id: client(),
        phone: phone(),
        message_id: "M1".parse().expect("valid"),
        chat: "4915100000001".to_owned(),
        from: "4915100000001".to_owned(),
        to: PHONE.to_owned(),
        timestamp: Timestamp::EPOCH,
        kind: Kind::Text,
        content: "hello".to_owned(),
        metadata: Map::new(),
        metadata_json: None,
    }
}

/// Everything as small as it gets.
fn small(config: Config) -> Config {
    let mut small = config;
    small.bus.message_bytes_max = MIB;
    small.bus.hold_bytes_max = MIB;
    small.bus.dead_letter_bytes_max = MIB;
    small.bus.retry_bytes_max = MIB;
    small.bus.session_key_bytes_max = MIB;
    small.bus.publish_deadline = Duration::from_millis(300);
    small
}

async fn small_bus(server: &NatsServer) -> Bus {
    let bus = server.connect_with(&small(server.config())).await;
    bus.apply().await.expect("applies");
    bus
}

async fn stored(server: &NatsServer, stream: &str, sequence: u64) -> Vec<u8> {
    let context = server.jetstream().await;
    let stream = context.get_stream(stream).await.expect("is there");
    let message = stream.get_raw_message(sequence).await.expect("is there");
    message.payload.to_vec()
}

#[tokio::test]
async fn account_that_wants_limits_gets_them_and_one_that_is_too_small_names_the_settings() {
    let (large, _folder) = NatsServer::configured(&account("12GB")).await;
    let bus = large.connect().await;
    bus.apply().await.expect("applies");
    assert_eq!(bus.check().await.expect("answers"), []);
    assert_eq!(bus.apply().await.expect("applies"), []);

    let (little, _folder) = NatsServer::configured(&account("2GB")).await;
    let bus = little.connect().await;
    let missing = bus.check().await.expect("answers").len();
    let error = bus.apply().await.expect_err("too little");
    assert!(matches!(error, Error::NoStorage { .. }), "{error}");
    for setting in [
        "bus.message_bytes_max",
        "bus.hold_bytes_max",
        "bus.dead_letter_bytes_max",
        "deliver.retry_bytes_max",
    ] {
        assert!(error.to_string().contains(setting), "{error}");
    }
    let left = bus.check().await.expect("answers").len();
    assert_eq!(left, missing, "nothing was made by halves");
    small_bus(&little).await;
}

#[tokio::test]
async fn server_that_is_too_small_names_the_settings() {
    let (server, _folder) = NatsServer::configured(&server_with("2GB")).await;
    let error = server
        .connect()
        .await
        .apply()
        .await
        .expect_err("too little");
    assert!(matches!(error, Error::NoStorage { .. }), "{error}");
    assert!(error.to_string().contains("bus.hold_bytes_max"), "{error}");
    small_bus(&server).await;
}

#[tokio::test]
async fn streams_without_limits_get_them_and_lose_nothing() {
    let server = NatsServer::start().await;
    let bus = small_bus(&server).await;
    let context = server.jetstream().await;
    for name in ["WA_HOLD", "WA_DLQ", "WA_RETRY", "KV_wa_tokens"] {
        let mut info: Value = context
            .request(format!("STREAM.INFO.{name}"), &())
            .await
            .expect("answers");
        info["config"]["max_bytes"] = json!(-1);
        info["config"]["discard"] = json!(if name.starts_with("KV") { "new" } else { "old" });
        let answer: Value = context
            .request(format!("STREAM.UPDATE.{name}"), &info["config"])
            .await
            .expect("answers");
        assert!(answer["error"].is_null(), "{answer}");
    }
    for event in 0..4 {
        bus.hold(
            &delivery(event, 300 * KIB),
            wahook::bus::Work::Message,
            wahook::bus::StoredAs {
                at: Timestamp::EPOCH,
                sequence: 1 + event as u64,
            },
        )
        .await
        .expect("holds");
    }
    let error = bus.apply().await.expect_err("it holds more");
    assert!(matches!(error, Error::LimitTooLow { .. }), "{error}");
    assert!(error.to_string().contains("bus.hold_bytes_max"), "{error}");
    assert_eq!(server.messages("WA_HOLD").await, 4);

    let mut config = small(server.config());
    config.bus.hold_bytes_max = 2 * MIB;
    let bus = server.connect_with(&config).await;
    assert_eq!(bus.apply().await.expect("applies").len(), 4);
    assert_eq!(bus.check().await.expect("answers"), []);
    assert_eq!(server.messages("WA_HOLD").await, 4);
}

#[tokio::test]
async fn retries_are_refused_before_their_stream_would_drop_the_oldest() {
    let server = NatsServer::start().await;
    let publishers = [small_bus(&server).await, small_bus(&server).await];
    let limit = MIB + MIB / 4 + 64 * MIB;
    let later =
        Timestamp::from_system(std::time::SystemTime::now()).after(Duration::from_secs(3600));
    let fill = async |bus: &Bus, first: u128| {
        let mut parked = 0_u64;
        loop {
            match bus
                .park(&delivery(first + u128::from(parked), 400 * KIB), later)
                .await
            {
                Ok(_) => parked += 1,
                Err(Error::Full) => return parked,
                Err(error) => panic!("{error}"),
            }
            assert!(u128::from(parked) < 200, "more than the limit");
        }
    };
    let (one, two) = tokio::join!(fill(&publishers[0], 0), fill(&publishers[1], 1000));
    assert_eq!(server.messages("WA_RETRY").await, one + two);
    assert!(server.bytes("WA_RETRY").await < limit);
    assert!(one + two > 100, "only {one} and {two}");
    // A retry by hand goes the same way.
    let by_hand = publishers[0]
        .publish_delivery(&delivery(5000, 400 * KIB))
        .await;
    assert!(by_hand.is_ok() || matches!(by_hand, Err(Error::Full)));
}

#[tokio::test]
async fn dead_letters_without_room_are_cut_and_in_the_end_counted() {
    let server = NatsServer::start().await;
    let bus = small_bus(&server).await;
    for event in 0..3 {
        bus.dead_letter(&letter(event, 300 * KIB))
            .await
            .expect("keeps");
    }
    bus.dead_letter(&letter(3, 300 * KIB))
        .await
        .expect("keeps a cut one");
    assert_eq!(server.messages("WA_DLQ").await, 4);
    let cut = wire::decode_dead_letter(&stored(&server, "WA_DLQ", 4).await).expect("readable");
    assert!(cut.delivery.body.is_empty());
    assert!(
        cut.reason.starts_with("refused (stored without its body"),
        "{}",
        cut.reason
    );
    for event in 4..400 {
        bus.dead_letter(&letter(event, 300 * KIB))
            .await
            .expect("goes on");
    }
    assert!(server.bytes("WA_DLQ").await <= MIB);
    let first = wire::decode_dead_letter(&stored(&server, "WA_DLQ", 1).await).expect("readable");
    assert_eq!(first, letter(0, 300 * KIB), "the oldest are kept");
}
