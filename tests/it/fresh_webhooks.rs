//! Changes of webhooks while the watch of the node that delivers brings nothing.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{
    app::{App, Client, eventually, http_client},
    receiver::Receiver,
};

const PHONE: &str = "4915112345678";
/// Messages that are published right after a change.
const MESSAGES: usize = 5;
/// How long a change may take while a node is deaf: two seconds, and time for a busy machine.
const CHANGE_MAX: Duration = Duration::from_secs(8);

/// Deletes every watch of the webhooks, as the death of its server does. The client notices it by
/// missed heartbeats, some ten seconds later.
async fn deafen(app: &App) {
    let jetstream = app.nats.jetstream().await;
    let names = eventually("each process watches", async || {
        let names: Value = jetstream
            .request("CONSUMER.NAMES.KV_wa_webhooks", &json!({"offset": 0}))
            .await
            .expect("the bucket is there");
        let names = names["consumers"].as_array()?.clone();
        (names.len() >= 2).then_some(names)
    })
    .await;
    for name in names {
        let name = name.as_str().expect("a name");
        let subject = format!("$JS.API.CONSUMER.DELETE.KV_wa_webhooks.{name}");
        let deleted = jetstream.client().request(subject, "".into()).await;
        let deleted: Value =
            serde_json::from_slice(&deleted.expect("an answer").payload).expect("JSON");
        assert_eq!(deleted["success"], true, "{deleted}");
    }
}

/// Makes a change while all are deaf, and publishes messages once it is answered.
async fn change(
    app: &App,
    client: &Client,
    (method, path): (&str, &str),
    body: Option<Value>,
    prefix: &str,
) -> Value {
    deafen(app).await;
    let asked_at = Instant::now();
    let (status, answer) = client.call(method, path, body).await;
    assert!((200..300).contains(&status), "{method} {path}: {answer}");
    assert!(asked_at.elapsed() < CHANGE_MAX, "{:?}", asked_at.elapsed());
    for number in 0..MESSAGES {
        client.publish(PHONE, &format!("{prefix}{number}")).await;
    }
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn no_message_after_an_answered_change_goes_the_old_way_while_a_node_is_deaf() {
    let app = App::playing("api,record", &[]).await;
    let (mut deliver, admin) = app.second_in("deliver", Vec::new());
    deliver.ready().await;
    let client = app.client(1).await;
    let before = Receiver::answering(&[200]).await;
    let after = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &before.url("/")).await;
    client.publish(PHONE, "first").await;
    before.wait_for(1).await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));

    let moved = json!({"webhook_url": after.url("/")});
    change(&app, &client, ("PATCH", &path), Some(moved), "moved").await;
    after.wait_for(MESSAGES).await;

    let rotate = format!("{path}/rotate-secret");
    let rotated = change(&app, &client, ("POST", &rotate), None, "rotated").await;
    let secret = rotated["signing_secret"].as_str().expect("is shown once");
    let all = after.wait_for(MESSAGES * 2).await;
    assert!(all[MESSAGES..].iter().all(|one| one.signed_by(secret)));

    let paused = json!({"is_active": false});
    change(&app, &client, ("PATCH", &path), Some(paused), "paused").await;
    eventually("all are held", async || {
        (client.get(&path).await["held_count"] == MESSAGES).then_some(())
    })
    .await;

    let again = Receiver::answering(&[200]).await;
    deafen(&app).await;
    let (status, _) = client.call("DELETE", &path, None).await;
    assert_eq!(status, 204);
    client.register(PHONE, &again.url("/")).await;
    for number in 0..MESSAGES {
        client.publish(PHONE, &format!("again{number}")).await;
    }
    again.wait_for(MESSAGES).await;
    assert_eq!(before.received().len(), 1, "the first address");
    assert_eq!(after.received().len(), MESSAGES * 2, "the second address");

    let metrics = http_client().get(format!("{admin}/metrics")).send().await;
    let metrics = metrics.expect("answers").text().await.expect("a text");
    assert!(metrics.contains(r#"code="deaf_watch""#), "it was noticed");
    assert_eq!(deliver.terminate().await, Some(0));
}
