//! Full streams, and answers of the server that are lost.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use uuid::Uuid;
use wahook::{
    bus::Error,
    model::{Message, SigningSecret, Timestamp, Token, TokenHash, Webhook, WebhookId},
};

use super::{KIB, PHONE, client, delivery, message, phone, server_with, small_bus};
use crate::support::{
    app::{App, Client, eventually},
    nats::NatsServer,
    proxy::{At, NatsProxy},
    receiver::Receiver,
};

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
const SMALL: [(&str, &str); 8] = [
    ("BUS__MESSAGE_BYTES_MAX", "4MiB"),
    ("BUS__HOLD_BYTES_MAX", "4MiB"),
    ("BUS__DEAD_LETTER_BYTES_MAX", "2MiB"),
    ("BUS__SESSION_KEY_BYTES_MAX", "1MiB"),
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

/// Publishes to a stream until it takes no more.
async fn fill(app: &App, subject: &'static str) {
    let context = app.nats.jetstream().await;
    let payload = Bytes::from(vec![b'x'; 200 * KIB]);
    loop {
        let sent = context.publish(subject, payload.clone()).await;
        if sent.expect("is sent").await.is_err() {
            return;
        }
    }
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
    assert!(taken > 5, "{taken}");
    // A client alone has a share. What many have takes the rest.
    for subject in ["wa.hold.99.4915100000009", "wa.dlq.99.4915100000009"] {
        fill(&app, subject).await;
    }

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
    let from = wahook::bus::StoredAs {
        at: Timestamp::EPOCH,
        sequence: 9,
    };
    let refused = bus
        .hold(&delivery(9, 1), wahook::bus::Work::Message, from)
        .await;
    assert!(
        matches!(refused, Err(Error::StorageExhausted)),
        "{refused:?}"
    );
}
