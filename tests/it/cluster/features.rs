//! All main features, with no permission missing.

use std::fs;

use serde_json::{Value, json};
use whatsapp_sim::{Server, content};

use super::{log_of, role};
use crate::{
    support::{
        app::{App, Client, eventually},
        nats::NatsServer,
        process::Node,
        receiver::{Receiver, Reply},
    },
    whatsapp::{PHONE, STEP_MAX, link},
};

const ORDERED: &str = "4915112345679";
const SLOW: &str = "4915112345670";
const DELETED: &str = "4915112345671";

#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_its_work_with_the_permissions_of_its_user() {
    let nats = NatsServer::cluster().await;
    let whatsapp = Server::start().await.expect("the stand-in starts");
    let settings = [("BUS__REPLICAS", "3"), ("WHATSAPP__KEYS", "jetstream")];
    let app = App::on_both(nats, "api", &whatsapp, &settings).await;
    let _record = role(&app, "record").await;
    let _ingest = role(&app, "ingest").await;
    let mut deliver = role(&app, "deliver").await;
    let client = app.client(1).await;
    let notices = is_told_of_its_webhooks(&client).await;

    let (ordered, _receiver) = fails_and_is_sent_again(&client).await;

    is_held_and_released(&client, &ordered).await;

    has_a_test_sums_and_a_new_secret(&client, &ordered).await;

    what_waits_goes_with_its_webhook(&app, &client).await;

    let _deliver = goes_on_at_the_next_node(&app, &client, &mut deliver).await;

    receives_and_sends(&client, &whatsapp).await;

    eventually("the client is told of its session", async || {
        let received = notices.received().into_iter();
        let mut states = received.filter(|one| one.json()["type"] == "session.state");
        states.next()
    })
    .await;
    operators_see_and_revoke(&app, &client).await;

    let logs = ["record", "ingest", "deliver"]
        .map(|role| fs::read_to_string(log_of(&app, role)).expect("a log"));
    let all = logs.join("") + &app.log();
    let denied: Vec<_> = all
        .lines()
        .filter(|line| line.contains("Violation"))
        .map(str::to_owned)
        .chain(app.nats.cluster.as_ref().expect("three").violations())
        .collect();
    assert!(denied.is_empty(), "{denied:#?}");
}

/// The operational webhook.
async fn is_told_of_its_webhooks(client: &Client) -> Receiver {
    let receiver = Receiver::answering(&[200]).await;
    let body = json!({"webhook_url": receiver.url("/ops")});
    let (status, answer) = client
        .call("PUT", "/api/operational-webhook", Some(body))
        .await;
    assert_eq!(status, 201, "{answer}");
    receiver
}

/// A test message, statistics, a new secret.
async fn has_a_test_sums_and_a_new_secret(client: &Client, webhook: &Value) {
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let (status, _) = client.call("POST", &format!("{path}/test"), None).await;
    assert_eq!(status, 202);
    eventually("the test is delivered", async || {
        let events = client.events(webhook).await.into_iter();
        let mut tests = events.filter(|event| event["payload"]["type"] == "test");
        tests.find(|event| event["status"] == "delivered")
    })
    .await;
    let stats = client.get(&format!("{path}/stats")).await;
    assert!(stats["data"][0]["delivered"].as_u64() >= Some(1), "{stats}");
    let rotate = format!("{path}/rotate-secret");
    let (status, rotated) = client.call("POST", &rotate, None).await;
    assert_eq!(status, 200, "{rotated}");
    client.publish(ORDERED, "R1").await;
    client.event_when(webhook, "R1", "delivered").await;
}

/// Of a webhook that is deleted, what waits in chats and what is held goes.
async fn what_waits_goes_with_its_webhook(app: &App, client: &Client) {
    let receiver = Receiver::answering(&[503]).await;
    let register = async || {
        let webhook = client
            .register_ordered(DELETED, &receiver.url("/hook"))
            .await;
        format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"))
    };
    let path = register().await;
    for number in 0..3 {
        client.publish(DELETED, &format!("D{number}")).await;
    }
    let holds = async |stream: &str, count: u64| {
        eventually(&format!("{stream} holds {count}"), async || {
            (app.nats.messages(stream).await == count).then_some(())
        })
        .await;
    };
    holds("WA_CHAT", 3).await;
    assert_eq!(client.call("DELETE", &path, None).await.0, 204);
    holds("WA_CHAT", 0).await;
    holds("WA_RETRY", 0).await;

    let path = register().await;
    let body = json!({"is_active": false});
    assert_eq!(client.call("PATCH", &path, Some(body)).await.0, 200);
    for number in 3..6 {
        client.publish(DELETED, &format!("D{number}")).await;
    }
    holds("WA_HOLD", 3).await;
    holds("WA_CHAT", 0).await;
    assert_eq!(client.call("DELETE", &path, None).await.0, 204);
    assert_eq!(app.nats.messages("WA_HOLD").await, 0);
}

/// What operators ask, and a token that is taken back.
async fn operators_see_and_revoke(app: &App, client: &Client) {
    let partitions = app.command(&["partitions", "--json"]).await;
    assert!(partitions.contains("\"nodes\""), "{partitions}");
    assert!(app.command(&["bus", "check"]).await.contains("declared"));
    let tokens = app.command(&["token", "list"]).await;
    let id = tokens.split('\t').next().expect("an id").trim().to_owned();
    app.command(&["token", "revoke", &id]).await;
    assert_eq!(client.call("GET", "/api/webhooks/list", None).await.0, 401);
}

/// A chat whose first message fails at first; a dead letter, sent again by hand and by a job.
async fn fails_and_is_sent_again(client: &Client) -> (Value, Receiver) {
    let receiver = Receiver::answering(&[500, 200]).await;
    let ordered = client
        .register_ordered(ORDERED, &receiver.url("/hook"))
        .await;
    client.publish(ORDERED, "O1").await;
    client.publish(ORDERED, "O2").await;
    client.event_when(&ordered, "O2", "delivered").await;
    assert_eq!(receiver.ids(), ["O1", "O1", "O2"]);
    receiver.reply(Reply::status(400));
    client.publish(ORDERED, "O3").await;
    let dead = client.event_when(&ordered, "O3", "failed").await;
    let retry = format!(
        "/api/webhooks/events/{}/retry",
        dead["id"].as_str().expect("an id")
    );
    assert_eq!(client.call("POST", &retry, None).await.0, 202);
    eventually("it came again", async || {
        (receiver.ids().len() == 5).then_some(())
    })
    .await;
    client.event_when(&ordered, "O3", "failed").await;
    receiver.reply(Reply::status(200));
    let (status, job) = client
        .call(
            "POST",
            "/api/replays",
            Some(json!({"rate_per_second": 100})),
        )
        .await;
    assert_eq!(status, 202, "{job}");
    client.event_when(&ordered, "O3", "delivered").await;
    (ordered, receiver)
}

/// Held while paused, and released.
async fn is_held_and_released(client: &Client, ordered: &Value) {
    let path = format!("/api/webhooks/{}", ordered["id"].as_str().expect("an id"));
    let set = async |is_active: bool| {
        let body = json!({"is_active": is_active});
        assert_eq!(client.call("PATCH", &path, Some(body)).await.0, 200);
    };
    set(false).await;
    // The node that delivers learns of it a moment later.
    let mut number = 0;
    let held = eventually("a message is held", async || {
        number += 1;
        let id = format!("H{number}");
        client.publish(ORDERED, &id).await;
        let event = eventually("it has an event", async || {
            let events = client.events(ordered).await;
            events.into_iter().find(|event| event["message_id"] == id)
        })
        .await;
        (event["status"] == "pending").then_some(id)
    })
    .await;
    set(true).await;
    client.event_when(ordered, &held, "delivered").await;
}

/// What is in flight when its node leaves: the next asks `record` for each that came before.
async fn goes_on_at_the_next_node(app: &App, client: &Client, deliver: &mut Node) -> Node {
    let slow = Receiver::answering(&[200]).await;
    let body = json!({
        "phone_number": SLOW,
        "webhook_url": slow.url("/hook"),
        "rate_per_second": 1,
        "burst": 1,
    });
    let limited = client.register_with(body).await;
    for number in 0..3 {
        client.publish(SLOW, &format!("S{number}")).await;
    }
    slow.wait_for(1).await;
    assert_eq!(deliver.terminate().await, Some(0));
    let next = role(app, "deliver").await;
    for number in 0..3 {
        client
            .event_when(&limited, &format!("S{number}"), "delivered")
            .await;
    }
    next
}

/// From WhatsApp and to it.
async fn receives_and_sends(client: &Client, whatsapp: &Server) {
    let (session, device) = link(client, whatsapp, json!({}), PHONE).await;
    let inbound = Receiver::answering(&[200]).await;
    client.register(PHONE, &inbound.url("/hook")).await;
    let alice = whatsapp.contact("4915200000001", "Alice");
    alice
        .send(&device, content::text("hello"))
        .await
        .expect("sent");
    inbound.wait_for(1).await;
    device.wait_idle(STEP_MAX).await.expect("acknowledged");
    let body = json!({"session_id": session, "to": "4915200000001", "text": "hello yourself"});
    let (status, answer) = client.call("POST", "/api/messages/send", Some(body)).await;
    assert!(status < 300, "{status} {answer}");
    assert_eq!(
        client
            .call("DELETE", &format!("/api/sessions/{session}"), None)
            .await
            .0,
        204
    );
}
