//! The whole way, through the real executable: register, publish, delivered, retried, audited.

mod failures;
pub(crate) mod fleet;
mod formats;
mod health;
#[cfg(feature = "whatsapp")]
mod isolation;
mod large;
mod not_made;
mod order;
mod recovery;
mod shares;
mod signing;
mod survival;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{
    app::App,
    receiver::{Receiver, Reply},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_message_arrives_signed_and_is_audited() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client
        .register("4915112345678", &receiver.url("/hook?key=1"))
        .await;
    let body = json!({
        "phone_number": "4915112345678", "message_id": "M1", "from": "4915100000001",
        "type": "text",
        "timestamp": "2026-11-24T08:30:00Z", "content": "grüße 👋\r\n",
        "metadata": {"push_name": "Ann\r\nBob"},
    });
    let (status, answer) = client.call("POST", "/api/messages", Some(body)).await;
    assert_eq!((status, &answer["status"]), (202, &json!("accepted")));

    let received = receiver.wait_for(1).await.remove(0);
    assert_eq!(
        received.json(),
        json!({
            "client_id": 1, "message_id": "M1", "from": "4915100000001", "to": "4915112345678",
            "type": "text",
            "timestamp": "2026-11-24T08:30:00Z", "content": "grüße 👋\r\n",
            "metadata": {"push_name": "Ann\r\nBob"},
        })
    );
    assert_eq!(received.header("content-type"), "application/json");
    assert!(received.header("user-agent").starts_with("wahook/"));
    assert!(
        received.signed_by(
            webhook["signing_secret"]
                .as_str()
                .expect("shown at registration")
        )
    );
    assert!(
        !received.signed_by("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        "any other secret must not fit"
    );

    let event = client.event_when(&webhook, "M1", "delivered").await;
    assert_eq!(event["attempt_count"], 1);
    assert_eq!(event["http_status"], 200);
    assert_eq!(event["response"], "answer 200");
    assert_eq!(event["payload"], received.json());
    assert_eq!(event["attempts"].as_array().map(Vec::len), Some(1));
    let shown = client
        .get(&format!(
            "/api/webhooks/{}",
            webhook["id"].as_str().expect("an id")
        ))
        .await;
    assert_eq!(
        (&shown["status"], &shown["failure_count"]),
        (&json!("active"), &json!(0))
    );
    assert!(shown["last_success_at"].is_string(), "{shown}");
    assert!(shown.get("signing_secret").is_none(), "shown once only");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_failures_are_retried_after_the_waits_asked_for() {
    let app = App::with(&[("DELIVER__RETRY_BASE", "1s")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[500, 500, 200]).await;
    let webhook = client.register("4915112345678", &receiver.url("/")).await;
    client.publish("4915112345678", "M1").await;

    let event = client.event_when(&webhook, "M1", "delivered").await;
    assert_eq!(event["attempt_count"], 3);
    let statuses: Vec<_> = event["attempts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|a| &a["http_status"])
        .collect();
    assert_eq!(statuses, [500, 500, 200]);
    let received = receiver.received();
    assert_eq!(received.len(), 3);
    for (wait, gap) in [1.0, 2.0].into_iter().zip(received.windows(2)) {
        let waited = (gap[1].at - gap[0].at).as_secs_f64();
        // Ten percent of jitter, and the server fires schedules at most a second late.
        assert!(
            (wait * 0.9..wait * 1.1 + 1.5).contains(&waited),
            "waited {waited} s instead of {wait} s"
        );
        assert_eq!(gap[0].body, gap[1].body);
        assert_eq!(gap[0].header("webhook-id"), gap[1].header("webhook-id"));
        let secret = webhook["signing_secret"]
            .as_str()
            .expect("shown at registration");
        assert!(gap[1].signed_by(secret), "each attempt is signed again");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_raises_the_wait() {
    let app = App::start().await;
    let client = app.client(1).await;
    let slow_down = Reply::Status(429, vec![("retry-after", "3".to_owned())]);
    let receiver = Receiver::start([slow_down, Reply::status(200)]).await;
    let webhook = client.register("4915112345678", &receiver.url("/")).await;
    client.publish("4915112345678", "M1").await;
    client.event_when(&webhook, "M1", "delivered").await;
    let received = receiver.received();
    let waited = received[1].at - received[0].at;
    assert!(waited >= Duration::from_secs(3), "waited {waited:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_published_twice_is_delivered_once() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register("4915112345678", &receiver.url("/")).await;
    assert_eq!(
        client.publish("4915112345678", "M1").await["status"],
        "accepted"
    );
    assert_eq!(
        client.publish("4915112345678", "M1").await["status"],
        "duplicate"
    );
    client.publish("4915112345678", "M2").await;
    client.event_when(&webhook, "M1", "delivered").await;
    client.event_when(&webhook, "M2", "delivered").await;
    let mut ids: Vec<Value> = receiver
        .received()
        .iter()
        .map(|one| one.json()["message_id"].clone())
        .collect();
    ids.sort_by_key(ToString::to_string);
    assert_eq!(ids, ["M1", "M2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_webhook_holds_its_messages_until_it_is_active_again() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register("4915112345678", &receiver.url("/")).await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let (status, paused) = client
        .call("PATCH", &path, Some(json!({"is_active": false})))
        .await;
    assert_eq!((status, &paused["status"]), (200, &json!("paused")));
    for id in ["M1", "M2", "M3"] {
        client.publish("4915112345678", id).await;
    }
    for id in ["M1", "M2", "M3"] {
        client.event_when(&webhook, id, "pending").await;
    }
    assert_eq!(receiver.received().len(), 0);
    let (status, _) = client
        .call("PATCH", &path, Some(json!({"is_active": true})))
        .await;
    assert_eq!(status, 200);
    for id in ["M1", "M2", "M3"] {
        let event = client.event_when(&webhook, id, "delivered").await;
        assert_eq!(event["attempt_count"], 1);
    }
    assert_eq!(receiver.received().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_event_arrives_and_a_rotated_secret_signs_beside_the_new_one() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register("4915112345678", &receiver.url("/")).await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let (status, rotated) = client
        .call("POST", &format!("{path}/rotate-secret"), None)
        .await;
    assert_eq!(status, 200, "{rotated}");
    let (status, test) = client.call("POST", &format!("{path}/test"), None).await;
    assert_eq!(status, 202, "{test}");
    let received = receiver.wait_for(1).await.remove(0);
    assert_eq!(received.json()["type"], "test");
    for secret in [&webhook["signing_secret"], &rotated["signing_secret"]] {
        assert!(received.signed_by(secret.as_str().expect("shown when made")));
    }
    assert_ne!(webhook["signing_secret"], rotated["signing_secret"]);
}
