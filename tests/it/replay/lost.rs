//! Deliveries that the audit shows as waiting and that no stream has.

use serde_json::{Value, json};

use super::PHONE;
use crate::support::{
    app::{App, Client, eventually},
    receiver::{Receiver, Reply},
};

/// Takes all retries out of their stream, as an operator can.
async fn purge_retries(app: &App) {
    let jetstream = app.nats.jetstream().await;
    let stream = jetstream.get_stream("WA_RETRY").await;
    let purged = stream.expect("is declared").purge().await;
    assert!(purged.expect("purges").purged > 0, "one was parked");
}

async fn webhook(client: &Client, receiver: &Receiver, schedule: Value) -> Value {
    let body = json!({
        "phone_number": PHONE, "webhook_url": receiver.url("/"), "retry_schedule": schedule,
    });
    client.register_with(body).await
}

async fn lost(app: &App, what: &str) -> f64 {
    let line = format!(r#"wahook_lost_deliveries_total{{what="{what}"}}"#);
    app.metric(&line).await.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_whose_retry_was_purged_is_found_and_sent_once() {
    let app = App::with(&[("REPLAY__LOST_AFTER", "2s")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[503]).await;
    let webhook = webhook(&client, &receiver, json!([4, 3600])).await;
    client.publish(PHONE, "M1").await;
    client.event_when(&webhook, "M1", "pending").await;
    purge_retries(&app).await;
    // Found after its time: it fails again, and then waits for an hour, which is no reason to send.
    receiver.wait_for(2).await;
    eventually("the second attempt is on record", async || {
        let events = client.events(&webhook).await;
        (events[0]["attempt_count"] == 2).then_some(())
    })
    .await;
    assert_eq!(lost(&app, "sent").await, 1.0);
    receiver.reply(Reply::status(200));
    client.publish(PHONE, "M2").await;
    client.event_when(&webhook, "M2", "delivered").await;
    assert_eq!(receiver.received().len(), 3);
    assert_eq!(app.nats.messages("WA_RETRY").await, 1, "it is parked");
    app.leaves_work("the first message waits for its third attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_delivery_that_its_webhook_does_not_want_any_more_is_given_up() {
    let app = App::with(&[("REPLAY__LOST_AFTER", "2s")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[503]).await;
    let webhook = webhook(&client, &receiver, json!([10])).await;
    client.publish(PHONE, "M1").await;
    client.event_when(&webhook, "M1", "pending").await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let body = json!({"event_types": ["receipt"]});
    let (status, answer) = client.call("PATCH", &path, Some(body)).await;
    assert_eq!(status, 200, "{answer}");
    purge_retries(&app).await;
    client.event_when(&webhook, "M1", "failed").await;
    assert_eq!(receiver.received().len(), 1);
    assert_eq!(lost(&app, "given_up").await, 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_of_pending_events_takes_the_lost_ones_alone() {
    let app = App::with(&[("REPLAY__LOST_AFTER", "1h")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[503]).await;
    let webhook = webhook(&client, &receiver, json!([1, 3600])).await;
    client.publish(PHONE, "M1").await;
    client.event_when(&webhook, "M1", "pending").await;
    purge_retries(&app).await;
    // This one is parked for its second retry.
    client.publish(PHONE, "M2").await;
    receiver.wait_for(3).await;
    receiver.reply(Reply::status(200));
    let wanted = json!({"status": "pending", "dry_run": true});
    eventually("the lost one matches", async || {
        let (status, answer) = client
            .call("POST", "/api/replays", Some(wanted.clone()))
            .await;
        assert_eq!(status, 200, "{answer}");
        (answer["matched"] == 1).then_some(())
    })
    .await;
    let (status, answer) = client
        .call("POST", "/api/replays", Some(json!({"status": "pending"})))
        .await;
    assert_eq!(status, 202, "{answer}");
    client.event_when(&webhook, "M1", "delivered").await;
    assert_eq!(receiver.received().len(), 4, "the other waits");
    app.leaves_work("the other message waits for its third attempt");
}
