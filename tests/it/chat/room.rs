//! WA_CHAT is full.

use std::time::Duration;

use serde_json::json;
use wahook::model::{ClientId, Phone};

use super::{CHAT, delivery, nothing_is_left, ordered, publish};
use crate::support::{
    app::{App, eventually, stays},
    receiver::{Receiver, Reply},
};

/// Fills WA_CHAT with what another number waits for, until it takes no more; that number.
async fn fill(app: &App) -> Phone {
    let phone: Phone = "4915199999999".parse().expect("valid");
    let client = 1.try_into().expect("in range");
    let context = app.nats.jetstream().await;
    let part = app.nats.connect().await.partition_of(client, &phone);
    let mut bytes = 200 * 1024;
    let mut number = 0;
    while bytes > 64 {
        let subject = format!("wa.chat.{part}.1.{}.c0ffee.{number}", phone.as_str());
        let sent = context
            .publish(subject, vec![b'x'; bytes].into())
            .await
            .expect("is sent");
        if sent.await.is_err() {
            bytes /= 2;
        }
        number += 1;
    }
    phone
}

/// Makes room again.
async fn purge(app: &App, phone: &Phone) {
    let client = ClientId::try_from(1).expect("in range");
    let bus = app.nats.bus().await;
    bus.purge_chat_queues(client, phone).await.expect("purges");
}

const SMALL: [(&str, &str); 3] = [
    ("BUS__MESSAGE_BYTES_MAX", "1MiB"),
    ("BUS__PUBLISH_DEADLINE", "500ms"),
    ("DELIVER__RETRY_BASE", "8s"),
];

#[tokio::test(flavor = "multi_thread")]
async fn nothing_new_is_taken_up_until_there_is_room() {
    let app = App::with(&SMALL).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[500]).await;
    let webhook = ordered(&client, &receiver).await;
    let phone = fill(&app).await;
    eventually("it is seen", async || {
        app.log().contains("bus.message_bytes_max").then_some(())
    })
    .await;
    publish(&client, CHAT, "A1", "text").await;
    // It would fail, and could not keep its place.
    stays(Duration::from_secs(3), "it is not taken up", async || {
        receiver.received().is_empty()
    })
    .await;
    receiver.reply(Reply::status(200));
    purge(&app, &phone).await;
    client.event_when(&webhook, "A1", "delivered").await;
    nothing_is_left(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_room_in_the_chat_queue_is_retried_on_schedule() {
    let app = App::with(&SMALL).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(500), Reply::status(200)]).await;
    let webhook = ordered(&client, &receiver).await;
    let phone = fill(&app).await;
    // Due retries are taken up whatever the room.
    app.nats
        .bus()
        .await
        .publish_delivery(&delivery(&webhook, "A1"))
        .await
        .expect("publishes");
    let failed = eventually("the attempt is on record", async || {
        client.events(&webhook).await.pop()
    })
    .await;
    assert_eq!(
        (&failed["status"], &failed["http_status"]),
        (&json!("pending"), &json!(500))
    );
    let event = client.event_when(&webhook, "A1", "delivered").await;
    assert_eq!(event["attempt_count"], 2);
    let received = receiver.received();
    assert_eq!(received.len(), 2);
    let waited = received[1].at - received[0].at;
    assert!(waited.as_secs_f64() > 7.0, "waited {waited:?}");
    purge(&app, &phone).await;
    nothing_is_left(&app).await;
}
