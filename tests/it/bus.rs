//! The bus room on a real server.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wahook::{
    bus::{Bus, Work},
    model::{
        ClientId, Delivery, EventId, Kind, Message, Phone, Priority, SigningSecret, Timestamp,
        Webhook, WebhookId,
    },
    wire::{self, decode_delivery, decode_message},
};

use crate::support::{
    app::{PATIENCE, eventually},
    nats::NatsServer,
};

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
        16 + 3 * usize::from(bus.partition_count()) + 1
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
    let first = timeout(PATIENCE, pull.next())
        .await
        .expect("in time")
        .expect("a message");
    assert_eq!(decode_message(first.payload()).expect("readable"), message);
    assert_eq!(first.deliveries, 1);
    assert!(now().since(first.published_at) < Duration::from_secs(10));
    first.nak(None).await;
    let again = timeout(PATIENCE, pull.next())
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
        timeout(PATIENCE, pull.next())
            .await
            .expect("in time")
            .is_none()
    );
}

#[tokio::test]
async fn what_a_stopped_node_fetched_goes_to_the_next_at_once() {
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
    let taken = timeout(PATIENCE, pull.next())
        .await
        .expect("in time")
        .expect("a message");
    taken.ack().await.expect("acknowledges");
    cancel.cancel();
    assert!(pull.next().await.is_none());
    let started = Instant::now();
    let mut pull = second.pull(Work::Message, part, CancellationToken::new());
    for _ in 0..19 {
        let incoming = timeout(PATIENCE, pull.next())
            .await
            .expect("in time")
            .expect("a message");
        incoming.ack().await.expect("acknowledges");
    }
    // Far less than the ack wait of a minute, for which they would lie otherwise.
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn what_was_asked_for_while_the_server_was_away_is_not_lost() {
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
        let incoming = timeout(PATIENCE, pull.next())
            .await
            .expect("in time")
            .expect("a message");
        assert_eq!(incoming.deliveries, 1);
        incoming.ack().await.expect("acknowledges");
    }
    // Far less than the ack wait of a minute, for which they would lie otherwise.
    assert!(
        started.elapsed() < Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
}

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
    let incoming = timeout(PATIENCE, pull.next())
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
    let incoming = timeout(PATIENCE, pull.next())
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

#[tokio::test]
async fn held_deliveries_are_released_in_order_and_once() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let all: Vec<_> = (1..=5).map(delivery).collect();
    for (one, number) in all.iter().zip(1..) {
        bus.hold(one, Work::Message, number).await.expect("holds");
        bus.hold(one, Work::Message, number)
            .await
            .expect("was held");
    }
    let stranger = Delivery {
        webhook_id: WebhookId(Uuid::from_u128(8)),
        ..delivery(9)
    };
    bus.hold(&stranger, Work::Retry, 1).await.expect("holds");
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
    let mut pull = bus.pull(
        Work::Retry,
        bus.partition_of(id, number),
        CancellationToken::new(),
    );
    for one in &all {
        let incoming = timeout(PATIENCE, pull.next())
            .await
            .expect("in time")
            .expect("a delivery");
        assert_eq!(&decode_delivery(incoming.payload()).expect("readable"), one);
        incoming.ack().await.expect("acknowledges");
    }
}

#[tokio::test]
async fn a_webhook_changed_on_one_node_is_changed_on_the_other() {
    let server = NatsServer::start().await;
    let first = server.bus().await;
    let second = server.bus().await;
    let here = first.webhooks();
    let there = second.webhooks();
    let new = webhook(1, "4915112345678");
    let id = new.id;
    let number = new.phone.clone();
    let (registered, created) = here
        .register(client(1), &number, |_| new.clone())
        .await
        .expect("registers");
    assert!(created);
    // Read at once, on both nodes, by number and by id.
    assert_eq!(
        there.by_phone(client(1), &number).await.expect("answers"),
        Some(Arc::clone(&registered))
    );
    assert_eq!(
        there.by_id(client(1), id).await.expect("answers"),
        Some(registered)
    );
    assert_eq!(
        there.by_id(client(2), id).await.expect("answers"),
        None,
        "another client's"
    );

    // Both change it at the same time: no change is lost.
    let bump = |bus: Bus| async move {
        for _ in 0..10 {
            bus.webhooks()
                .update(client(1), id, |webhook| webhook.rate_per_second += 1)
                .await
                .expect("updates");
        }
    };
    tokio::join!(bump(first.clone()), bump(second.clone()));
    eventually("both nodes know", async || {
        let rates = [here, there].map(async |one| {
            one.by_id(client(1), id)
                .await
                .expect("answers")
                .map(|w| w.rate_per_second)
        });
        let [a, b] = rates;
        (a.await == Some(70) && b.await == Some(70)).then_some(())
    })
    .await;

    assert!(
        there
            .delete(client(2), id)
            .await
            .expect("answers")
            .is_none()
    );
    assert!(
        there
            .delete(client(1), id)
            .await
            .expect("answers")
            .is_some()
    );
    assert_eq!(
        there.by_phone(client(1), &number).await.expect("answers"),
        None
    );
    eventually("the other node knows", async || {
        here.by_id(client(1), id)
            .await
            .expect("answers")
            .is_none()
            .then_some(())
    })
    .await;
    let (again, created) = here
        .register(client(1), &number, |_| webhook(1, "4915112345678"))
        .await
        .expect("registers");
    assert!(created && again.id != id);
}

#[tokio::test]
async fn a_webhook_is_not_written_when_its_change_fails_or_changes_nothing() {
    let server = NatsServer::start().await;
    let bus = server.bus().await;
    let webhooks = bus.webhooks();
    let new = webhook(1, "4915112345678");
    let last_revision = async || {
        let jetstream = server.jetstream().await;
        let stream = jetstream.get_stream("KV_wa_webhooks").await;
        let stream = stream.expect("declared");
        stream.cached_info().state.last_sequence
    };
    let refused = webhooks
        .try_register(client(1), &new.phone, |_| Err(anyhow::anyhow!("refused")))
        .await;
    assert_eq!(refused.expect_err("it fails").to_string(), "refused");
    assert_eq!(last_revision().await, 0);

    let registered = webhooks
        .register(client(1), &new.phone, |_| new.clone())
        .await;
    assert!(registered.expect("registers").1);
    let refused = webhooks
        .try_update(client(1), new.id, |webhook| {
            webhook.rate_per_second += 1;
            Err(anyhow::anyhow!("refused"))
        })
        .await;
    assert_eq!(refused.expect_err("it fails").to_string(), "refused");
    let same = webhooks.update(client(1), new.id, |_| {}).await;
    let same = same.expect("answers").expect("registered");
    assert_eq!(same.rate_per_second, new.rate_per_second);
    assert_eq!(last_revision().await, 1);
}
