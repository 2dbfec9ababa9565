//! Every way on which the first of a line can end lets the next one go.

use serde_json::json;
use wahook::bus::Work;

use super::{CHAT, LATE, delivery, first, nothing_is_left, ordered, path, publish, waits};
use crate::support::{
    app::{App, eventually},
    nats::wear_out,
    receiver::{Receiver, Reply},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_by_hand_keeps_its_place_in_the_chat() {
    let app = App::with(&[LATE]).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(500), Reply::status(200)]).await;
    let webhook = ordered(&client, &receiver).await;
    let failed = waits(&client, &webhook, "A1").await;
    let waiting = waits(&client, &webhook, "A2").await;
    let retry = |event: &serde_json::Value| {
        format!(
            "/api/webhooks/events/{}/retry",
            event["id"].as_str().expect("an id")
        )
    };
    let (status, answer) = client.call("POST", &retry(&waiting), None).await;
    assert_eq!(
        (status, &answer["code"]),
        (409, &json!("in_line")),
        "{answer}"
    );
    let (status, answer) = client.call("POST", &retry(&failed), None).await;
    assert_eq!(status, 202, "{answer}");
    let event = client.event_when(&webhook, "A1", "delivered").await;
    assert_eq!(event["attempt_count"], 2);
    client.event_when(&webhook, "A2", "delivered").await;
    assert_eq!(receiver.ids(), ["A1", "A1", "A2"]);
    nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_at_max_deliver_lets_the_next_of_its_chat_go() {
    // No deliver yet: this test is the one that fails at it.
    let app = App::playing("api,record", &[]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = ordered(&client, &receiver).await;
    let bus = app.nats.bus().await;
    let all = ["A1", "A2", "A3"].map(|id| delivery(&webhook, id));
    for one in &all {
        bus.enqueue(one).await.expect("joins");
    }
    bus.publish_delivery(&all[0]).await.expect("publishes");
    wear_out(
        &bus,
        Work::Retry,
        bus.partition_of(all[0].client_id, &all[0].phone),
    )
    .await;

    let _deliver = app.second("deliver");
    client.event_when(&webhook, "A1", "failed").await;
    client.event_when(&webhook, "A3", "delivered").await;
    assert_eq!(receiver.ids(), ["A2", "A3"]);
    nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_no_longer_wanted_lets_the_next_of_its_chat_go() {
    let app = App::with(&[("DELIVER__RETRY_BASE", "3s")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(500), Reply::status(200)]).await;
    let body = json!({
        "phone_number": super::PHONE, "webhook_url": receiver.url("/"), "ordering": "chat",
        "event_types": ["message", "receipt"],
    });
    let webhook = client.register_with(body).await;
    publish(&client, CHAT, "R1", "receipt").await;
    client.event_when(&webhook, "R1", "pending").await;
    waits(&client, &webhook, "A2").await;
    let (status, _) = client
        .call(
            "PATCH",
            &path(&webhook),
            Some(json!({"event_types": ["message"]})),
        )
        .await;
    assert_eq!(status, 200);
    client.event_when(&webhook, "A2", "delivered").await;
    assert_eq!(receiver.ids(), ["R1", "A2"]);
    nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn held_messages_leave_the_chat_queue_in_order() {
    let app = App::with(&[("DELIVER__RETRY_BASE", "3s")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(500), Reply::status(200)]).await;
    let webhook = ordered(&client, &receiver).await;
    let path = path(&webhook);
    waits(&client, &webhook, "A1").await;
    waits(&client, &webhook, "A2").await;
    client
        .call("PATCH", &path, Some(json!({"is_active": false})))
        .await;
    // It comes while its chat still waits for A1, and must not be held before it.
    publish(&client, CHAT, "A3", "text").await;
    eventually("all are held", async || {
        (client.get(&path).await["held_count"] == 3).then_some(())
    })
    .await;
    assert_eq!(
        app.nats.messages("WA_CHAT").await,
        0,
        "nobody waits for what is held"
    );
    client
        .call("PATCH", &path, Some(json!({"is_active": true})))
        .await;
    client.event_when(&webhook, "A3", "delivered").await;
    assert_eq!(receiver.ids(), ["A1", "A1", "A2", "A3"]);

    // What was held for too long is gone; its chat goes on.
    receiver.reply(Reply::status(500));
    waits(&client, &webhook, "B1").await;
    client
        .call("PATCH", &path, Some(json!({"is_active": false})))
        .await;
    eventually("it is held", async || {
        (client.get(&path).await["held_count"] == 1).then_some(())
    })
    .await;
    let stream = app
        .nats
        .jetstream()
        .await
        .get_stream("WA_HOLD")
        .await
        .expect("the stream is there");
    stream.purge().await.expect("purges");
    receiver.reply(Reply::status(200));
    client
        .call("PATCH", &path, Some(json!({"is_active": true})))
        .await;
    publish(&client, CHAT, "B2", "text").await;
    client.event_when(&webhook, "B2", "delivered").await;
    assert_eq!(first(&receiver), ["A1", "A2", "A3", "B1", "B2"]);
    nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_queued_for_a_deleted_webhook_are_removed() {
    let app = App::playing("api,record", &[]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = ordered(&client, &receiver).await;
    let bus = app.nats.bus().await;
    assert_eq!(client.call("DELETE", &path(&webhook), None).await.0, 204);
    // A node had them in hand when the webhook was deleted.
    let all = ["A1", "A2"].map(|id| delivery(&webhook, id));
    for one in &all {
        bus.enqueue(one).await.expect("joins");
    }
    bus.publish_delivery(&all[0]).await.expect("publishes");
    // The number's next webhook has its own lines.
    let next = ordered(&client, &receiver).await;
    let of_next = delivery(&next, "B1");
    bus.enqueue(&of_next).await.expect("joins");
    bus.publish_delivery(&of_next).await.expect("publishes");
    let _deliver = app.second("deliver");
    client.event_when(&next, "B1", "delivered").await;
    nothing_is_left(&app).await;
    assert_eq!(receiver.ids(), ["B1"]);
}
