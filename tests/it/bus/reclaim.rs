//! What the server handed out and nobody has, and what it did not hear of.

use std::time::{Duration, Instant};

use async_nats::Subscriber;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wahook::bus::{Bus, Pull, Work};

use super::{client, message, phone};
use crate::support::{
    app::{WAIT_MAX, eventually, let_pass},
    nats::NatsServer,
    proxy::{At, NatsProxy},
};

const NUMBER: &str = "4915112345678";

/// Publishes messages with these numbers.
async fn publish(bus: &Bus, numbers: std::ops::Range<u64>) {
    for number in numbers {
        let message = message(1, NUMBER, &format!("M{number}"));
        bus.publish_message(&message).await.expect("publishes");
    }
}

/// Takes so many messages, done at once; their numbers in the stream.
async fn take(pull: &mut Pull, count: u64) -> Vec<u64> {
    let mut sequences = Vec::new();
    for _ in 0..count {
        let incoming = timeout(WAIT_MAX, pull.next()).await.expect("in time");
        let incoming = incoming.expect("a message");
        sequences.push(incoming.sequence);
        incoming.ack().await.expect("acknowledges");
    }
    sequences
}

/// Asks the consumer for messages as if this were the node that it feeds. Nobody settles them.
async fn steal(server: &NatsServer, partition: u16, count: u64) -> Subscriber {
    let context = server.jetstream().await;
    let consumer = format!("WA_MSG.deliver-{partition:02}");
    let info: Value = context
        .request(format!("CONSUMER.INFO.{consumer}"), &())
        .await
        .expect("a consumer");
    let pin = &info["priority_groups"][0]["pinned_client_id"];
    let request = json!({"batch": count, "group": "g", "id": pin, "expires": 60_000_000_000_u64});
    let client = context.client();
    let inbox = client.new_inbox();
    let stolen = client.subscribe(inbox.clone()).await.expect("subscribes");
    let subject = format!("$JS.API.CONSUMER.MSG.NEXT.{consumer}");
    client
        .publish_with_reply(subject, inbox, request.to_string().into())
        .await
        .expect("asks");
    client.flush().await.expect("has asked");
    stolen
}

#[tokio::test]
async fn messages_that_reached_nobody_come_at_once_and_in_their_order() {
    const STOLEN: u64 = 5;
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let part = bus.partition_of(client(1), &phone(NUMBER));
    let mut pull = bus.pull(Work::Message, part, CancellationToken::new());
    publish(&bus, 0..1).await;
    take(&mut pull, 1).await;
    // Longer than the node's open request lasts: then the other one is served first.
    let_pass(Duration::from_millis(1_500)).await;
    let mut stolen = steal(&server, part, STOLEN).await;
    let started = Instant::now();
    publish(&bus, 1..40).await;
    for _ in 0..STOLEN {
        let message = timeout(WAIT_MAX, stolen.next()).await.expect("in time");
        assert!(message.expect("a message").status.is_none());
    }
    let sequences = take(&mut pull, 39).await;
    assert!(sequences.is_sorted(), "{sequences:?}");
    // Far less than the ack wait of a minute, for which they would lie otherwise.
    let took = started.elapsed();
    assert!(took < Duration::from_secs(30), "{took:?}");
    eventually("the stream is empty", async || {
        (server.messages("WA_MSG").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_acknowledgement_that_was_lost_is_sent_again() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let proxy = NatsProxy::start(server.port()).await;
    let mut config = server.config();
    config.nats.url = proxy.url();
    let node = server.connect_with(&config).await;
    let part = bus.partition_of(client(1), &phone(NUMBER));
    let mut pull = node.pull(Work::Message, part, CancellationToken::new());
    let lost = proxy.trap(At::Lost, "$JS.ACK.WA_MSG");
    publish(&bus, 0..1).await;
    take(&mut pull, 1).await;
    timeout(WAIT_MAX, lost)
        .await
        .expect("in time")
        .expect("it is lost");
    pull.give_back().await;
    publish(&bus, 1..2).await;
    let incoming = timeout(WAIT_MAX, pull.next()).await.expect("in time");
    let incoming = incoming.expect("a message");
    assert_eq!(incoming.sequence, 2, "the first one does not come again");
    incoming.ack().await.expect("acknowledges");
    eventually("the stream is empty", async || {
        (server.messages("WA_MSG").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_is_worked_on_or_pauses_is_left_alone() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let part = bus.partition_of(client(1), &phone(NUMBER));
    let mut pull = bus.pull(Work::Message, part, CancellationToken::new());
    publish(&bus, 0..2).await;
    let first = timeout(WAIT_MAX, pull.next()).await.expect("in time");
    let held = first.expect("a message");
    let second = timeout(WAIT_MAX, pull.next()).await.expect("in time");
    let pausing = second.expect("a message");
    pausing.nak(Some(Duration::from_secs(60))).await;
    pull.give_back().await;
    publish(&bus, 2..3).await;
    let third = timeout(WAIT_MAX, pull.next()).await.expect("in time");
    let third = third.expect("a message");
    assert_eq!((third.sequence, third.deliveries), (3, 1));
    held.ack().await.expect("acknowledges");
}
