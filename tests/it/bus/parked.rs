//! Deliveries that are parked or held.

use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wahook::{
    bus::{Bus, StoredAs, Work},
    model::{Delivery, Timestamp, WebhookId},
    wire::decode_delivery,
};

use super::{delivery, now, phone};
use crate::support::{
    app::{WAIT_MAX, eventually},
    nats::NatsServer,
};

#[tokio::test]
async fn a_parked_delivery_comes_at_its_time_and_parking_again_replaces_it() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let early = delivery(1);
    bus.park(&early, now().after(Duration::from_secs(30)))
        .await
        .expect("parks");
    let started = Instant::now();
    let later = Delivery {
        attempt_count: 2,
        ..early.clone()
    };
    bus.park(&later, now().after(Duration::from_secs(1)))
        .await
        .expect("parks");
    let part = bus.partition_of(early.client_id, &early.phone);
    let mut pull = bus.pull(Work::Retry, part, CancellationToken::new());
    let incoming = timeout(WAIT_MAX, pull.next())
        .await
        .expect("in time")
        .expect("a delivery");
    let waited = started.elapsed().as_secs_f64();
    assert!((0.9..3.0).contains(&waited), "came after {waited} s");
    assert_eq!(
        decode_delivery(incoming.payload()).expect("readable"),
        later
    );
    incoming.ack().await.expect("acknowledges");
    eventually("nothing is left", async || {
        (server.messages("WA_RETRY").await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_parked_delivery_that_is_taken_back_does_not_come() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let settled = delivery(1);
    let waiting = delivery(2);
    for one in [&settled, &waiting] {
        bus.park(one, now().after(Duration::from_secs(2)))
            .await
            .expect("parks");
    }
    bus.unpark(&settled).await.expect("takes it back");
    bus.unpark(&settled)
        .await
        .expect("nothing is there any more, which is no error");
    assert_eq!(server.messages("WA_RETRY").await, 1);
    let mut pull = bus.pull(
        Work::Retry,
        bus.partition_of(waiting.client_id, &waiting.phone),
        CancellationToken::new(),
    );
    let incoming = timeout(WAIT_MAX, pull.next())
        .await
        .expect("in time")
        .expect("a delivery");
    assert_eq!(
        decode_delivery(incoming.payload()).expect("readable"),
        waiting
    );
    incoming.ack().await.expect("acknowledges");
    eventually("nothing is left", async || {
        (server.messages("WA_RETRY").await == 0).then_some(())
    })
    .await;
}

fn stored_as(sequence: u64) -> StoredAs {
    let at = Timestamp::EPOCH;
    StoredAs { at, sequence }
}

#[tokio::test]
async fn held_deliveries_are_released_in_order_and_once() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let all: Vec<_> = (1..=5).map(delivery).collect();
    for (one, number) in all.iter().zip(1..) {
        let from = stored_as(number);
        bus.hold(one, Work::Message, from).await.expect("holds");
        bus.hold(one, Work::Message, from).await.expect("was held");
    }
    let stranger = Delivery {
        webhook_id: WebhookId(Uuid::from_u128(8)),
        ..delivery(9)
    };
    let from = stored_as(1);
    bus.hold(&stranger, Work::Retry, from).await.expect("holds");
    let id = all[0].client_id;
    let number = &all[0].phone;
    assert_eq!(
        bus.held_counts(id, None).await.expect("answers"),
        [(number.as_str().to_owned(), 6)].into()
    );
    assert_eq!(
        bus.held_counts(id, Some(&phone("4915112345679")))
            .await
            .expect("answers"),
        [].into()
    );
    let mut reader = bus.read_held(id, number).await.expect("answers");
    let first = reader.next(2).await.expect("answers");
    let rest = reader.next(100).await.expect("answers");
    assert_eq!((first.len(), rest.len()), (2, 4));
    assert!(reader.next(100).await.expect("answers").is_empty());
    // A node that dies after the publishes leaves them held: the next one finds them published
    // already.
    for _ in 0..2 {
        assert_eq!(
            bus.release(id, number, all[0].webhook_id, &first)
                .await
                .expect("releases"),
            2
        );
    }
    assert_eq!(server.messages("WA_HOLD").await, 4);
    assert_eq!(
        bus.release(id, number, all[0].webhook_id, &rest)
            .await
            .expect("releases"),
        3
    );
    assert_eq!(
        (
            server.messages("WA_HOLD").await,
            server.messages("WA_RETRY").await
        ),
        (0, 5)
    );
    come(&bus, &all).await;
}

/// These retries come, in this order.
async fn come(bus: &Bus, all: &[Delivery]) {
    let mut pull = bus.pull(
        Work::Retry,
        bus.partition_of(all[0].client_id, &all[0].phone),
        CancellationToken::new(),
    );
    for one in all {
        let incoming = timeout(WAIT_MAX, pull.next())
            .await
            .expect("in time")
            .expect("a delivery");
        assert_eq!(&decode_delivery(incoming.payload()).expect("readable"), one);
        incoming.ack().await.expect("acknowledges");
    }
}
