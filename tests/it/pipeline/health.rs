//! What happens to webhooks that fail for long, to attempts that were made already, and to retries
//! that grow too many.

use std::time::{Duration, SystemTime};

use serde_json::json;
use uuid::Uuid;
use wahook::model::{Delivery, EventId, Kind, Priority, PublicEventId, Timestamp, WebhookId};

use crate::support::{
    app::{App, eventually, let_pass, stays},
    receiver::{Receiver, Reply},
};

const PHONE: &str = "4915112345678";

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_for_too_long_is_disabled_and_holds_what_comes() {
    let app = App::with(&[
        ("DELIVER__DISABLE_AFTER", "2s"),
        ("DELIVER__MAX_RETRIES", "0"),
    ])
    .await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[500]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    client.publish(PHONE, "M1").await;
    client.event_when(&webhook, "M1", "failed").await;
    let since = eventually("its failing is noted", async || {
        client.get(&path).await["failing_since"]
            .as_str()
            .map(str::to_owned)
    })
    .await;
    let_pass(Duration::from_secs(2)).await;
    client.publish(PHONE, "M2").await;
    let disabled = eventually("it is disabled", async || {
        Some(client.get(&path).await).filter(|shown| shown["status"] == "disabled")
    })
    .await;
    assert_eq!(
        (&disabled["disabled_reason"], &disabled["failing_since"]),
        (&json!("failing"), &json!(since))
    );

    client.publish(PHONE, "M3").await;
    client.event_when(&webhook, "M3", "pending").await;
    assert_eq!(receiver.received().len(), 2, "what comes is held");
    receiver.reply(Reply::status(200));
    client
        .call("PATCH", &path, Some(json!({"is_active": true})))
        .await;
    client.event_when(&webhook, "M3", "delivered").await;
    let shown = client.get(&path).await;
    assert_eq!(
        (&shown["status"], shown["failing_since"].is_null()),
        (&json!("active"), true),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_success_resets_how_long_a_webhook_has_failed() {
    let app = App::with(&[
        ("DELIVER__DISABLE_AFTER", "1s"),
        ("DELIVER__MAX_RETRIES", "0"),
    ])
    .await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[500, 200, 500]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;
    client.event_when(&webhook, "M1", "failed").await;
    client.publish(PHONE, "M2").await;
    client.event_when(&webhook, "M2", "delivered").await;
    let_pass(Duration::from_secs(1)).await;
    client.publish(PHONE, "M3").await;
    client.event_when(&webhook, "M3", "failed").await;
    let shown = client
        .get(&format!(
            "/api/webhooks/{}",
            webhook["id"].as_str().expect("an id")
        ))
        .await;
    assert_eq!(shown["status"], "failed", "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_answer_of_the_old_address_does_not_disable_the_new_one() {
    let app = App::start().await;
    let client = app.client(1).await;
    let old = Receiver::start([Reply::Late(Duration::from_secs(1), 410)]).await;
    let new = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &old.url("/")).await;
    client.publish(PHONE, "M1").await;
    old.wait_for(1).await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let change = json!({"webhook_url": new.url("/"), "is_active": true});
    assert_eq!(client.call("PATCH", &path, Some(change)).await.0, 200);
    client.event_when(&webhook, "M1", "failed").await;
    client.publish(PHONE, "M2").await;
    client.event_when(&webhook, "M2", "delivered").await;
    let shown = client.get(&path).await;
    assert_eq!(
        (&shown["status"], &shown["disabled_reason"]),
        (&json!("active"), &json!(null))
    );
}

/// Changes of webhooks so far.
async fn writes(app: &App) -> u64 {
    let info: serde_json::Value = app
        .nats
        .jetstream()
        .await
        .request("STREAM.INFO.KV_wa_webhooks", &())
        .await
        .expect("the bucket is there");
    info["state"]["last_seq"].as_u64().expect("a number")
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_answers_are_noted_once() {
    const AT_ONCE: usize = 8;
    let app = App::with(&[("DELIVER__MAX_RETRIES", "0")]).await;
    let client = app.client(1).await;
    let operations = Receiver::answering(&[200]).await;
    let receiver = Receiver::answering(&[500]).await;
    let body = json!({"webhook_url": operations.url("/"), "events": ["endpoint.disabled"]});
    assert_eq!(
        client
            .call("PUT", "/api/operational-webhook", Some(body))
            .await
            .0,
        201
    );
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    client.publish(PHONE, "M0").await;
    client.event_when(&webhook, "M0", "failed").await;
    let is_failing = async || client.get(&path).await["failing_since"].is_string();
    eventually("its failing is noted", async || {
        is_failing().await.then_some(())
    })
    .await;

    let round = async |status: u16, come: usize, end: &str| {
        receiver.reply(Reply::Late(Duration::from_secs(1), status));
        let before = writes(&app).await;
        for number in 0..AT_ONCE {
            client.publish(PHONE, &format!("{status}-{number}")).await;
        }
        receiver.wait_for(come).await;
        for number in 0..AT_ONCE {
            client
                .event_when(&webhook, &format!("{status}-{number}"), end)
                .await;
        }
        writes(&app).await - before
    };
    assert_eq!(
        round(200, 1 + AT_ONCE, "delivered").await,
        1,
        "it recovers once"
    );
    assert!(!is_failing().await);
    assert_eq!(
        round(410, 1 + 2 * AT_ONCE, "failed").await,
        1,
        "it is disabled once"
    );
    operations.wait_for(1).await;
    stays(Duration::from_secs(1), "it is told once", async || {
        operations.received().len() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_on_record_is_known_and_one_to_come_is_not() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;
    let event = client.event_when(&webhook, "M1", "delivered").await;
    let id: PublicEventId = event["id"]
        .as_str()
        .and_then(|id| id.parse().ok())
        .expect("an id");
    let bus = app.nats.bus().await;
    let made = Delivery {
        event_id: id.event,
        webhook_id: id.webhook,
        client_id: 1.try_into().expect("in range"),
        phone: PHONE.parse().expect("valid"),
        message_id: "M1".parse().expect("valid"),
        kind: Kind::Text,
        created_at: Timestamp::EPOCH,
        body: Vec::new().into(),
        attempt_count: 0,
        attempts_this_round: 0,
        priority: Priority::Normal,
        chat_key: None,
    };
    assert!(bus.is_recorded(&made).await, "the first attempt was made");
    let mut next = made.clone();
    next.attempt_count = 1;
    assert!(!bus.is_recorded(&next).await, "a second was not");
    let mut other = made.clone();
    other.client_id = 2.try_into().expect("in range");
    assert!(!bus.is_recorded(&other).await, "nor one of another client");
}

#[tokio::test(flavor = "multi_thread")]
async fn too_many_retries_of_all_stop_the_taking_up_of_new_messages_until_there_are_fewer() {
    let app = App::with(&[("DELIVER__RETRY_BYTES_MAX", "1MiB")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    let bus = app.nats.bus().await;
    let in_an_hour = Timestamp::from_system(SystemTime::now()).after(Duration::from_secs(3600));
    // Each has less than its share.
    let parked: Vec<Delivery> = (11..18).map(large_retry).collect();
    for delivery in &parked {
        bus.park(delivery, in_an_hour).await.expect("parks");
    }
    eventually("the retries are seen to be too many", async || {
        app.log().contains("deliver.retry_bytes_max").then_some(())
    })
    .await;
    client.publish(PHONE, "LATE").await;
    stays(
        Duration::from_secs(2),
        "nothing new is taken up",
        async || receiver.ids().is_empty(),
    )
    .await;
    for delivery in &parked {
        bus.unpark(delivery).await.expect("takes back");
    }
    client.event_when(&webhook, "LATE", "delivered").await;
}

/// A retry of this client.
fn large_retry(client: u64) -> Delivery {
    Delivery {
        event_id: EventId(Uuid::from_u128(client.into())),
        webhook_id: WebhookId(Uuid::from_u128(client.into())),
        client_id: client.try_into().expect("in range"),
        phone: PHONE.parse().expect("valid"),
        message_id: "M1".parse().expect("valid"),
        kind: Kind::Text,
        created_at: Timestamp::EPOCH,
        body: vec![b'x'; 200 * 1024].into(),
        attempt_count: 1,
        attempts_this_round: 1,
        priority: Priority::Normal,
        chat_key: None,
    }
}
