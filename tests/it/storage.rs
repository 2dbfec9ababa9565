//! Little storage: what the streams reserve, and what goes on when they are full.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use uuid::Uuid;
use wahook::{
    bus::{Bus, Error},
    config::Config,
    model::{
        ClientId, Delivery, EventId, Kind, Message, Phone, Priority, SigningSecret, Timestamp,
        Token, TokenHash, Webhook, WebhookId,
    },
    wire::{self, DeadLetter},
};

use crate::support::{
    app::{App, Client, eventually},
    nats::NatsServer,
    proxy::{At, NatsProxy},
    receiver::Receiver,
};

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
    }
}

/// Everything as small as it gets.
fn small(config: Config) -> Config {
    let mut small = config;
    small.bus.message_bytes_max = MIB;
    small.bus.hold_bytes_max = MIB;
    small.bus.dead_letter_bytes_max = MIB;
    small.bus.retry_bytes_max = MIB;
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
            1 + event as u64,
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

#[tokio::test]
async fn want_of_storage_and_full_streams_are_told_apart_from_silence() {
    let (server, _folder) = NatsServer::configured(&server_with("700MB")).await;
    let bus = small_bus(&server).await;
    while bus
        .publish_message_as(&large_message(), &Uuid::now_v7().to_string())
        .await
        .is_ok()
    {}
    let full = bus.publish_message(&message()).await;
    assert!(full.is_ok() || matches!(full, Err(Error::Full)), "{full:?}");
    let full = bus.publish_message_as(&large_message(), "last").await;
    assert!(matches!(full, Err(Error::Full)), "{full:?}");
    let token = token();
    bus.tokens()
        .put(&hash(), &token)
        .await
        .expect("a bucket has its own room");

    // What somebody else stores without a limit takes what was reserved.
    let context = server.jetstream().await;
    let foreign = async_nats::jetstream::stream::Config {
        name: "FOREIGN".to_owned(),
        max_bytes: -1,
        ..Default::default()
    };
    context.create_stream(foreign).await.expect("creates");
    let payload = Bytes::from(vec![b'x'; 2_000_000]);
    while let Ok(ack) = context.publish("FOREIGN", payload.clone()).await {
        if ack.await.is_err() {
            break;
        }
    }
    let refused = bus.tokens().put(&hash(), &token).await;
    assert!(
        matches!(refused, Err(Error::StorageExhausted)),
        "{refused:?}"
    );
    let refused = bus
        .hold(&delivery(9, 1), wahook::bus::Work::Message, 9)
        .await;
    assert!(
        matches!(refused, Err(Error::StorageExhausted)),
        "{refused:?}"
    );
}

fn large_message() -> Message {
    Message {
        content: "x".repeat(200 * KIB),
        ..message()
    }
}

fn hash() -> TokenHash {
    TokenHash::of("whk_test")
}

fn token() -> Token {
    Token {
        id: "t".to_owned(),
        client_id: client(),
        scopes: Vec::new(),
        name: "t".to_owned(),
        created_at: Timestamp::EPOCH,
        expires_at: None,
    }
}

/// The settings of a node on a small server.
const SMALL: [(&str, &str); 7] = [
    ("BUS__MESSAGE_BYTES_MAX", "4MiB"),
    ("BUS__HOLD_BYTES_MAX", "4MiB"),
    ("BUS__DEAD_LETTER_BYTES_MAX", "2MiB"),
    ("DELIVER__RETRY_BYTES_MAX", "1MiB"),
    ("BUS__PUBLISH_DEADLINE", "300ms"),
    ("API__REGISTRATIONS_PER_MINUTE", "1000"),
    ("DELIVER__RETRY_BASE", "500ms"),
];

/// Publishes large messages until one is refused; how many were taken.
async fn flood(client: &Client, phone: &str) -> usize {
    for number in 0..200 {
        let body = json!({
            "phone_number": phone, "message_id": format!("F{number}"), "from": "4915100000001",
            "type": "text", "content": "x".repeat(200 * KIB),
        });
        let (status, answer) = client.call("POST", "/api/messages", Some(body)).await;
        if status != 202 {
            assert!(status == 503 || status == 429, "{status}: {answer}");
            return number;
        }
    }
    panic!("200 large messages were taken");
}

#[tokio::test]
async fn everything_that_is_no_message_goes_on_while_all_streams_are_full() {
    let (server, _folder) = NatsServer::configured(&server_with("720MB")).await;
    let app = App::on_server(server, &SMALL).await;
    let endpoint = Receiver::answering(&[200]).await;
    let first = app.client(1).await;
    let webhook = first.register(PHONE, &endpoint.url("/")).await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let (status, _) = first
        .call("PATCH", &path, Some(json!({"is_active": false})))
        .await;
    assert_eq!(status, 200);
    let taken = flood(&first, PHONE).await;
    assert!(taken > 10, "{taken}");

    // Another client comes, and the first one's token goes.
    let second = app.client(2).await;
    second.register("4915187654321", &endpoint.url("/")).await;
    let list = app.command(&["token", "list"]).await;
    let id = list
        .lines()
        .find(|line| line.contains("client 1"))
        .and_then(|line| line.split_whitespace().next())
        .expect("the first client's token")
        .to_owned();
    let third = app.client(1).await;
    app.command(&["token", "revoke", &id]).await;
    let (status, _) = first.call("GET", "/api/webhooks/list", None).await;
    assert_eq!(status, 401, "refused at once");

    // Signs of life go on: the node still has its partitions.
    let partitions = app.command(&["partitions", "--json"]).await;
    let partitions: Value = serde_json::from_str(&partitions).expect("JSON");
    let has_node = |one: &Value| {
        one["nodes"]
            .as_array()
            .is_some_and(|nodes| !nodes.is_empty())
    };
    assert!(partitions.as_array().expect("a list").iter().all(has_node));

    // What was held goes with its webhook, and then there is room for all.
    let (status, answer) = third.call("DELETE", &path, None).await;
    assert_eq!(status, 204, "{answer}");
    eventually("the second client's message is taken", async || {
        let body = json!({
            "phone_number": "4915187654321", "message_id": "S1", "from": "4915100000001",
            "type": "text", "content": "hello",
        });
        let (status, _) = second.call("POST", "/api/messages", Some(body)).await;
        (status == 202).then_some(())
    })
    .await;
    endpoint.wait_for(1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_whose_acknowledgement_is_lost_is_known_as_done() {
    let server = NatsServer::start().await;
    let near = server.bus().await;
    let id = WebhookId(Uuid::now_v7());
    let made = |_: Option<&Webhook>| {
        let url = "https://example.com/".to_owned();
        Webhook {
            secrets: vec![SigningSecret::from_key(&[1; 32])],
            ..Webhook::new(id, client(), phone(), url, Timestamp::EPOCH)
        }
    };
    near.webhooks()
        .register(client(), &phone(), made)
        .await
        .expect("registers");
    let proxy = NatsProxy::start(server.port()).await;
    let mut config = server.config();
    config.nats.url = proxy.url();
    config.nats.request_timeout = Duration::from_secs(1);
    let far = server.load(server.connect_with(&config).await).await;
    let lost = proxy.trap(At::LostAck, "$KV.wa_webhooks.");
    let deleted = far.webhooks().delete(client(), id).await;
    let deleted = deleted.expect("the marker is seen").expect("it was there");
    assert_eq!(deleted.id, id);
    lost.await.expect("the acknowledgement was lost");
}

#[tokio::test]
async fn leaders_alone_answer_for_tokens_and_idempotency_keys() {
    let server = NatsServer::start().await;
    server.bus().await;
    let context = server.jetstream().await;
    for name in ["KV_wa_tokens", "KV_wa_sends", "KV_wa_webhooks"] {
        let stream = context.get_stream(name).await.expect("is there");
        assert!(!stream.cached_info().config.allow_direct, "{name}");
    }
}
