//! Streams and buckets that are deleted and made again, and a server that forgot what was published
//! twice: numbers begin again, and nothing may take the second for the first.

use serde_json::{Value, json};

use crate::support::{
    app::{App, Client, eventually},
    receiver::Receiver,
};

const PHONE: &str = "4915112345678";

/// Deletes a stream, and has it declared again.
async fn remake(app: &App, stream: &str) {
    let jetstream = app.nats.jetstream().await;
    let subject = format!("$JS.API.STREAM.DELETE.{stream}");
    let deleted = jetstream.client().request(subject, "".into()).await;
    let deleted: Value =
        serde_json::from_slice(&deleted.expect("an answer").payload).expect("JSON");
    assert_eq!(deleted["success"], true, "{deleted}");
    app.command(&["bus", "apply"]).await;
}

async fn publish(client: &Client, prefix: &str) {
    for number in 0..4 {
        client.publish(PHONE, &format!("{prefix}{number}")).await;
    }
}

async fn set_active(client: &Client, path: &str, is_active: bool) {
    let body = json!({"is_active": is_active});
    let (status, answer) = client.call("PATCH", path, Some(body)).await;
    assert_eq!(status, 200, "{answer}");
}

async fn held(client: &Client, path: &str, count: u64) {
    eventually(&format!("{count} are held"), async || {
        (client.get(path).await["held_count"] == count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn held_messages_of_a_stream_that_was_made_again_are_no_copies_of_the_first_ones() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    set_active(&client, &path, false).await;
    publish(&client, "OLD").await;
    held(&client, &path, 4).await;
    remake(&app, "WA_MSG").await;
    publish(&client, "NEW").await;
    held(&client, &path, 8).await;
    set_active(&client, &path, true).await;
    receiver.wait_for(8).await;

    // The copy of a release is told by what WA_HOLD said of the message.
    remake(&app, "WA_HOLD").await;
    set_active(&client, &path, false).await;
    publish(&client, "MORE").await;
    held(&client, &path, 4).await;
    set_active(&client, &path, true).await;
    let mut ids = Vec::new();
    for _ in receiver.wait_for(12).await {
        ids = receiver.ids();
        ids.sort();
    }
    ids.dedup();
    assert_eq!(ids.len(), 12, "{ids:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn webhooks_of_a_bucket_that_was_made_again_are_gone_and_get_nothing() {
    let app = App::start().await;
    let client = app.client(1).await;
    let before = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &before.url("/")).await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    // Its revisions are far ahead of those of the second bucket.
    for rate in 1..8 {
        let body = json!({"rate_per_second": rate});
        client.call("PATCH", &path, Some(body)).await;
    }
    client.publish(PHONE, "M1").await;
    before.wait_for(1).await;

    remake(&app, "KV_wa_webhooks").await;
    let message = json!({
        "phone_number": PHONE, "message_id": "M2", "from": "4915100000001", "type": "text",
        "content": "hello",
    });
    eventually("its number has no webhook", async || {
        let answer = client.call("POST", "/api/messages", Some(message.clone()));
        (answer.await.0 == 404).then_some(())
    })
    .await;
    let listed = client.get("/api/webhooks/list").await;
    assert_eq!(listed["data"], json!([]));

    let after = Receiver::answering(&[200]).await;
    let second = client.register(PHONE, &after.url("/")).await;
    assert_ne!(second["id"], webhook["id"]);
    client.publish(PHONE, "M3").await;
    after.wait_for(1).await;
    let path = format!("/api/webhooks/{}", second["id"].as_str().expect("an id"));
    assert_eq!(client.get(&path).await["webhook_url"], after.url("/"));
    let heard = before.ids();
    assert!(!heard.contains(&"M3".to_owned()), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_published_again_to_a_server_that_forgot_it_has_the_same_webhook_id() {
    let mut app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;
    receiver.wait_for(1).await;
    client.event_when(&webhook, "M1", "delivered").await;
    app.settled().await;
    // What was acknowledged is gone from the stream, and so is its id.
    app.nats.kill_and_restart().await;
    eventually("the second publish is accepted", async || {
        let message = json!({
            "phone_number": PHONE, "message_id": "M1", "from": "4915100000001", "type": "text",
            "content": "hello",
        });
        let (status, answer) = client.call("POST", "/api/messages", Some(message)).await;
        (status == 202 && answer["status"] == "accepted").then_some(())
    })
    .await;
    let received = receiver.wait_for(2).await;
    let ids: Vec<&str> = received
        .iter()
        .map(|one| one.header("webhook-id"))
        .collect();
    assert_eq!(ids[0], ids[1]);
    let id = webhook["id"].as_str().expect("an id");
    let events = eventually("both are on record", async || {
        let page = client.get(&format!("/api/webhooks/{id}/events")).await;
        let events = page["data"].as_array()?.clone();
        (events.len() == 2).then_some(events)
    })
    .await;
    assert_ne!(events[0]["id"], events[1]["id"]);
    for event in events {
        assert_eq!(event["webhook_id_header"], ids[0]);
    }
}
