//! What the bus fails at, and what nobody works on any more.

use std::time::Duration;

use async_nats::jetstream::{Context, stream::Config};
use futures_util::StreamExt;
use serde_json::json;
use tokio::time::timeout;

use super::{
    CHAT, PHONE, at_last, delivery, first, nothing_is_left, ordered, path, publish, waits,
};
use crate::support::{
    app::{App, WAIT_MAX, eventually, let_pass},
    proxy::{At, NatsProxy},
    receiver::{Receiver, Reply},
};

/// A short wait for answers that never come.
const HASTY: (&str, &str) = ("NATS__REQUEST_TIMEOUT", "1s");

/// From now on WA_CHAT takes messages of this size at most; -1: of any.
async fn allow(context: &Context, bytes: i32) {
    let stream = context
        .get_stream("WA_CHAT")
        .await
        .expect("the stream is there");
    let config = Config {
        max_message_size: bytes,
        ..stream.cached_info().config.clone()
    };
    context.update_stream(config).await.expect("updates");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_deletion_stops_no_chat() {
    let app = App::playing("api,record", &[]).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(500), Reply::status(200)]).await;
    let webhook = ordered(&client, &receiver).await;
    let proxy = NatsProxy::start(app.nats.port()).await;
    let lost = proxy.trap(At::Lost, "MSG.DELETE.WA_CHAT");
    let _deliver = app.second_with(
        "deliver",
        &[
            ("NATS__URL", &proxy.url()),
            HASTY,
            ("DELIVER__RETRY_BASE", "3s"),
        ],
    );
    waits(&client, &webhook, "A1").await;
    waits(&client, &webhook, "A2").await;
    timeout(WAIT_MAX, lost)
        .await
        .expect("in time")
        .expect("A1 leaves the line");
    client.event_when(&webhook, "A2", "delivered").await;
    assert_eq!(first(&receiver), ["A1", "A2"]);
    nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_put_into_the_chat_queue_is_not_overtaken() {
    let app = App::with(&[("BUS__PUBLISH_DEADLINE", "1s")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(500), Reply::status(200)]).await;
    let webhook = ordered(&client, &receiver).await;
    let context = app.nats.jetstream().await;
    allow(&context, 1).await;
    publish(&client, CHAT, "A1", "text").await;
    receiver.wait_for(1).await;
    for id in ["A2", "A3", "A4"] {
        publish(&client, CHAT, id, "text").await;
    }
    // A1 is given back after `bus.publish_deadline`, and so are the others.
    let_pass(Duration::from_secs(3)).await;
    allow(&context, -1).await;
    client.event_when(&webhook, "A4", "delivered").await;
    assert_eq!(first(&receiver), ["A1", "A2", "A3", "A4"]);
    nothing_is_left(&app).await;
    let log = app.log();
    let line = log
        .lines()
        .find(|line| line.contains("giving a message back"))
        .expect("it was given back");
    let id = webhook["id"].as_str().expect("an id");
    for part in ["event.id", "webhook.id", id, "client.id"] {
        assert!(line.contains(part), "no {part} in {line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_held_once_although_its_node_repeats_the_work() {
    let app = App::playing("api,record", &[]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client
        .register_with(
            json!({"phone_number": PHONE, "webhook_url": receiver.url("/"), "is_active": false}),
        )
        .await;
    let proxy = NatsProxy::start(app.nats.port()).await;
    let _deliver = app.second_with("deliver", &[("NATS__URL", &proxy.url()), HASTY]);
    publish(&client, CHAT, "M1", "text").await;
    eventually("it is held", async || {
        (client.get(&path(&webhook)).await["held_count"] == 1).then_some(())
    })
    .await;
    // Once it is held the node looks whether the webhook takes deliveries again; no answer, and it
    // begins again.
    let lost = proxy.trap(At::Lost, "KV_wa_webhooks");
    publish(&client, CHAT, "M2", "text").await;
    timeout(WAIT_MAX, lost)
        .await
        .expect("in time")
        .expect("it looks");
    client.event_when(&webhook, "M2", "pending").await;
    nothing_is_left(&app).await;
    assert_eq!(app.nats.messages("WA_HOLD").await, 2);
    client
        .call("PATCH", &path(&webhook), Some(json!({"is_active": true})))
        .await;
    client.event_when(&webhook, "M2", "delivered").await;
    nothing_is_left(&app).await;
    assert_eq!(receiver.ids(), ["M1", "M2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stalled_chat_queue_is_found() {
    let wait = [
        ("BUS__ACK_WAIT", "16s"),
        ("DELIVER__TIMEOUT", "1s"),
        ("DELIVER__LANE_WAIT", "500ms"),
    ];
    let app = App::with(&wait).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = ordered(&client, &receiver).await;
    let bus = app.nats.bus().await;
    // As after an operator emptied WA_RETRY.
    for id in ["A1", "A2", "A3"] {
        bus.enqueue(&delivery(&webhook, id)).await.expect("joins");
    }
    at_last("all came", async || receiver.ids().len() == 3).await;
    assert_eq!(receiver.ids(), ["A1", "A2", "A3"]);
    nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_that_decides_something_goes_to_the_leader() {
    let app = App::with(&[("DELIVER__RETRY_BASE", "1s")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(500), Reply::status(200)]).await;
    let spy = async_nats::connect(app.nats.url()).await.expect("connects");
    // Any replica answers these, one that lags behind too.
    let mut asked = spy
        .subscribe("$JS.API.DIRECT.GET.>")
        .await
        .expect("subscribes");
    spy.flush().await.expect("flushes");
    let webhook = ordered(&client, &receiver).await;
    waits(&client, &webhook, "A1").await;
    publish(&client, CHAT, "A2", "text").await;
    client.event_when(&webhook, "A2", "delivered").await;
    client
        .call("PATCH", &path(&webhook), Some(json!({"is_active": false})))
        .await;
    waits(&client, &webhook, "A3").await;
    // One that any replica may answer: the spy sees it.
    let messages = app.nats.jetstream().await.get_stream("WA_MSG").await;
    let _ = messages.expect("is there").direct_get(1).await;
    let mut subjects = Vec::new();
    while let Ok(Some(one)) = timeout(std::time::Duration::from_millis(200), asked.next()).await {
        subjects.push(one.subject.to_string());
    }
    let wrong = |subject: &&String| {
        [
            "WA_CHAT",
            "WA_RETRY",
            "KV_wa_webhooks",
            "KV_wa_tokens",
            "KV_wa_sends",
        ]
        .iter()
        .any(|name| subject.contains(name))
    };
    assert!(!subjects.is_empty(), "the spy sees none");
    assert_eq!(subjects.iter().find(wrong), None);
}
