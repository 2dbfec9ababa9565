//! Pulling work and settling it.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wahook::{bus::Work, wire::decode_message};

use super::{client, message, now, phone};
use crate::support::{
    app::{WAIT_MAX, eventually, let_pass},
    nats::NatsServer,
};

#[tokio::test]
async fn a_message_is_stored_once_and_comes_until_it_is_acknowledged() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let message = message(1, "4915112345678", "M1");
    assert!(
        !bus.publish_message(&message)
            .await
            .expect("publishes")
            .duplicate
    );
    assert!(
        bus.publish_message(&message)
            .await
            .expect("publishes")
            .duplicate
    );
    let cancel = CancellationToken::new();
    let mut pull = bus.pull(
        Work::Message,
        bus.partition_of(message.client_id, &message.phone),
        cancel.clone(),
    );
    let first = timeout(WAIT_MAX, pull.next())
        .await
        .expect("in time")
        .expect("a message");
    assert_eq!(decode_message(first.payload()).expect("readable"), message);
    assert_eq!(first.deliveries, 1);
    assert!(now().since(first.published_at) < Duration::from_secs(10));
    first.nak(None).await;
    let again = timeout(WAIT_MAX, pull.next())
        .await
        .expect("in time")
        .expect("a message");
    assert_eq!(again.deliveries, 2);
    again.ack().await.expect("acknowledges");
    eventually("the stream is empty", async || {
        (server.messages("WA_MSG").await == 0).then_some(())
    })
    .await;
    cancel.cancel();
    assert!(
        timeout(WAIT_MAX, pull.next())
            .await
            .expect("in time")
            .is_none()
    );
}

#[tokio::test]
async fn messages_that_a_stopped_node_fetched_go_to_the_next_at_once() {
    let server = NatsServer::start().await;
    let first = server.bus().await;
    let second = server.bus().await;
    for number in 0..20 {
        first
            .publish_message(&message(1, "4915112345678", &format!("M{number}")))
            .await
            .expect("publishes");
    }
    let part = first.partition_of(client(1), &phone("4915112345678"));
    let cancel = CancellationToken::new();
    let mut pull = first.pull(Work::Message, part, cancel.clone());
    let taken = timeout(WAIT_MAX, pull.next())
        .await
        .expect("in time")
        .expect("a message");
    taken.ack().await.expect("acknowledges");
    cancel.cancel();
    assert!(pull.next().await.is_none());
    let started = Instant::now();
    let mut pull = second.pull(Work::Message, part, CancellationToken::new());
    for _ in 0..19 {
        let incoming = timeout(WAIT_MAX, pull.next())
            .await
            .expect("in time")
            .expect("a message");
        incoming.ack().await.expect("acknowledges");
    }
    // Far less than the ack wait of a minute, for which they would lie otherwise.
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn a_pull_that_is_open_while_the_server_restarts_loses_no_message() {
    let mut server = NatsServer::start().await;
    let bus = server.bus().await;
    for number in 0..20 {
        bus.publish_message(&message(1, "4915112345678", &format!("M{number}")))
            .await
            .expect("publishes");
    }
    server.stop().await;
    let part = bus.partition_of(client(1), &phone("4915112345678"));
    let mut pull = bus.pull(Work::Message, part, CancellationToken::new());
    // Long enough to give up and begin again, several times.
    assert!(
        timeout(Duration::from_secs(6), pull.next()).await.is_err(),
        "nothing can come"
    );
    server.start_again().await;
    let started = Instant::now();
    for _ in 0..20 {
        let incoming = timeout(WAIT_MAX, pull.next())
            .await
            .expect("in time")
            .expect("a message");
        assert_eq!(incoming.deliveries, 1);
        incoming.ack().await.expect("acknowledges");
    }
    // Far less than the ack wait of a minute, for which they would lie otherwise.
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn messages_given_back_reach_the_next_node_in_their_order() {
    const MESSAGES: u64 = 300;
    const TAKEN: usize = 20;
    let server = NatsServer::start().await;
    let first = server.bus().await;
    let second = server.bus().await;
    for number in 0..MESSAGES {
        first
            .publish_message(&message(1, "4915112345678", &format!("M{number}")))
            .await
            .expect("publishes");
    }
    let part = first.partition_of(client(1), &phone("4915112345678"));
    let mut pull = first.pull(Work::Message, part, CancellationToken::new());
    let mut taken = Vec::new();
    while taken.len() < TAKEN {
        let incoming = timeout(WAIT_MAX, pull.next()).await.expect("in time");
        taken.push(incoming.expect("a message"));
    }
    // The next node waits already.
    let next = tokio::spawn(async move {
        let mut pull = second.pull(Work::Message, part, CancellationToken::new());
        let mut sequences = Vec::new();
        for _ in 0..MESSAGES {
            let incoming = timeout(WAIT_MAX, pull.next()).await.expect("in time");
            let incoming = incoming.expect("a message");
            sequences.push(incoming.sequence);
            incoming.ack().await.expect("acknowledges");
        }
        sequences
    });
    taken.reverse();
    pull.release(taken).await;
    let sequences = next.await.expect("all came");
    assert!(sequences.is_sorted(), "{sequences:?}");
}

#[tokio::test]
async fn a_node_that_takes_long_to_give_up_a_partition_keeps_it_until_then() {
    // Longer than the server keeps the pin of a node that asks for nothing.
    const LONG: Duration = Duration::from_secs(7);
    let server = NatsServer::start().await;
    let first = server.bus().await;
    let second = server.bus().await;
    let send = async |number: u64| {
        let message = message(1, "4915112345678", &format!("M{number}"));
        first.publish_message(&message).await.expect("publishes");
    };
    for number in 0..5 {
        send(number).await;
    }
    let part = first.partition_of(client(1), &phone("4915112345678"));
    let mut pull = first.pull(Work::Message, part, CancellationToken::new());
    let taken = timeout(WAIT_MAX, pull.next()).await.expect("in time");
    let taken = taken.expect("a message");
    let next = tokio::spawn(async move {
        let mut pull = second.pull(Work::Message, part, CancellationToken::new());
        let mut sequences = Vec::new();
        for _ in 0..10 {
            let incoming = timeout(WAIT_MAX, pull.next()).await.expect("in time");
            let incoming = incoming.expect("a message");
            sequences.push(incoming.sequence);
            incoming.ack().await.expect("acknowledges");
        }
        sequences
    });
    let in_flight = async {
        let_pass(LONG).await;
        for number in 5..10 {
            send(number).await;
        }
    };
    pull.stop_until(in_flight).await;
    pull.release(vec![taken]).await;
    let sequences = next.await.expect("all came");
    assert!(sequences.is_sorted(), "{sequences:?}");
}

#[tokio::test]
async fn a_message_that_is_kept_once_more_is_handed_out_to_nobody_else() {
    const ACK_WAIT: Duration = Duration::from_secs(3);
    let server = NatsServer::start().await;
    let mut config = server.config();
    config.bus.ack_wait = ACK_WAIT;
    let bus = server.connect_with(&config).await;
    bus.apply().await.expect("applies");
    let message = message(1, "4915112345678", "M1");
    bus.publish_message(&message).await.expect("publishes");
    let part = bus.partition_of(message.client_id, &message.phone);
    let mut pull = bus.pull(Work::Message, part, CancellationToken::new());
    let taken = timeout(WAIT_MAX, pull.next()).await.expect("in time");
    let taken = taken.expect("a message");
    let_pass(ACK_WAIT * 2 / 3).await;
    assert!(taken.keep().await);
    let again = timeout(ACK_WAIT * 2 / 3, pull.next()).await;
    assert!(again.is_err(), "it is kept");
    taken.ack().await.expect("acknowledges");
}
