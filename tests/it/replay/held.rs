use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wahook::{
    bus::{StoredAs, Work},
    model::{Kind, Timestamp},
    wire::decode_delivery,
};

use super::{PHONE, letter, now, times};
use crate::support::{
    app::{App, Client, WAIT_MAX, eventually},
    receiver::Receiver,
};

/// A paused webhook that holds so many messages.
async fn holding(client: &Client, receiver: &Receiver, rate: u32, count: usize) -> (Value, String) {
    let webhook = client
        .register_with(json!({
            "phone_number": PHONE, "webhook_url": receiver.url("/"), "is_active": false,
            "rate_per_second": rate, "in_flight": 1,
        }))
        .await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    for number in 0..count {
        client.publish(PHONE, &format!("M{number}")).await;
    }
    eventually("all are held", async || {
        (client.get(&path).await["held_count"] == count).then_some(())
    })
    .await;
    (webhook, path)
}

#[tokio::test(flavor = "multi_thread")]
async fn released_messages_are_in_the_stream_in_order() {
    // No deliver: what is released stays where this test can see it.
    let app = App::playing("api,record", &[]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client
        .register_with(json!({
            "phone_number": PHONE, "webhook_url": receiver.url("/"), "is_active": false,
            "rate_per_second": 1000,
        }))
        .await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let bus = app.nats.bus().await;
    let now = now();
    let all: Vec<_> = (1..=600)
        .map(|age| letter(&webhook, now, age, &Kind::Text).delivery)
        .collect();
    for (one, number) in all.iter().zip(1..) {
        let from = StoredAs {
            at: Timestamp::EPOCH,
            sequence: number,
        };
        bus.hold(one, Work::Message, from).await.expect("holds");
    }
    assert_eq!(client.get(&path).await["held_count"], 600);
    assert_eq!(
        client
            .call("PATCH", &path, Some(json!({"is_active": true})))
            .await
            .0,
        200
    );
    let mut pull = bus.pull(
        Work::Retry,
        bus.partition_of(all[0].client_id, &all[0].phone),
        CancellationToken::new(),
    );
    for one in &all {
        let incoming = timeout(WAIT_MAX, pull.next())
            .await
            .expect("in time")
            .expect("a delivery");
        assert_eq!(
            &decode_delivery(incoming.payload()).expect("readable"),
            one,
            "of normal priority, in order"
        );
        incoming.ack().await.expect("acknowledges");
    }
    eventually("none is held", async || {
        (client.get(&path).await["held_count"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn held_messages_are_counted_and_released() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let (_, path) = holding(&client, &receiver, 200, 60).await;
    let list = client.get("/api/webhooks/list").await;
    assert_eq!(list["data"][0]["held_count"], 60);
    let (status, _) = client
        .call("PATCH", &path, Some(json!({"is_active": true})))
        .await;
    assert_eq!(status, 200);
    receiver.wait_for(60).await;
    eventually("none is held", async || {
        (client.get(&path).await["held_count"] == 0).then_some(())
    })
    .await;
    assert_eq!(
        client.get("/api/replays").await["data"],
        json!([]),
        "a release is no replay"
    );

    // Paused and released once more: the job of before is no hindrance.
    client
        .call("PATCH", &path, Some(json!({"is_active": false})))
        .await;
    client.publish(PHONE, "N1").await;
    eventually("it is held", async || {
        (client.get(&path).await["held_count"] == 1).then_some(())
    })
    .await;
    client
        .call("PATCH", &path, Some(json!({"is_active": true})))
        .await;
    receiver.wait_for(61).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_goes_on_after_its_node_was_killed_and_stops_when_it_is_paused_again() {
    // What the killed node had fetched comes again after this.
    let settings = [
        ("BUS__ACK_WAIT", "16s"),
        ("DELIVER__TIMEOUT", "1s"),
        ("DELIVER__LANE_WAIT", "500ms"),
    ];
    let mut app = App::with(&settings).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let (_, path) = holding(&client, &receiver, 40, 200).await;
    client
        .call("PATCH", &path, Some(json!({"is_active": true})))
        .await;
    receiver.wait_for(40).await;
    app.kill().await;
    let before = times(&receiver).len();
    assert!(before < 190, "{before} had come already");
    app.restart().await;
    eventually("it goes on", async || {
        (times(&receiver).len() > before + 10).then_some(())
    })
    .await;

    client
        .call("PATCH", &path, Some(json!({"is_active": false})))
        .await;
    let left = eventually("the rest is held", async || {
        let held = client.get(&path).await["held_count"].as_u64();
        let held = usize::try_from(held.expect("a number")).expect("small");
        // What was released before is delivered, or is held again.
        (held + times(&receiver).len() >= 200).then_some(held)
    })
    .await;
    assert!(left > 0, "all were released before it was paused");
    client
        .call("PATCH", &path, Some(json!({"is_active": true})))
        .await;
    eventually("all came", async || {
        (times(&receiver).len() == 200).then_some(())
    })
    .await;
    app.settled().await;
    let came = receiver.received().len();
    assert!(
        came - 200 < before / 2,
        "what came before the kill was not released again: {came} came, {before} of them before"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deleting_the_webhook_drops_what_it_held() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let (_, path) = holding(&client, &receiver, 50, 5).await;
    assert_eq!(client.call("DELETE", &path, None).await.0, 204);
    assert_eq!(app.nats.messages("WA_HOLD").await, 0);
    let again = client.register(PHONE, &receiver.url("/")).await;
    assert_eq!(again["held_count"], 0);
    client.publish(PHONE, "N1").await;
    receiver.wait_for(1).await;
    assert_eq!(times(&receiver).len(), 1);
}
