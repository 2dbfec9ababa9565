//! The operational webhook: what a client is told about its own webhooks and sessions.

use std::time::Duration;

use serde_json::{Value, json};
use whatsapp_sim::Server;

use crate::{
    support::{
        app::{App, Client, eventually, stays},
        receiver::{Received, Receiver, Reply},
    },
    whatsapp::{link, when},
};

const PHONE: &str = "4915112345678";
const PATH: &str = "/api/operational-webhook";
/// A node looks for dead letters every five seconds.
const LONGER_THAN_A_LOOK: Duration = Duration::from_secs(6);

async fn set(client: &Client, receiver: &Receiver, further: Value) -> Value {
    let mut body = json!({"webhook_url": receiver.url("/ops")});
    body.as_object_mut()
        .expect("an object")
        .extend(further.as_object().expect("an object").clone());
    let (status, answer) = client.call("PUT", PATH, Some(body)).await;
    assert_eq!(status, 201, "{answer}");
    answer
}

fn of_type(receiver: &Receiver, kind: &str) -> Vec<Received> {
    receiver
        .received()
        .into_iter()
        .filter(|one| one.json()["type"] == kind)
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_set_shown_changed_and_deleted_by_its_client_alone() {
    let app = App::start().await;
    let client = app.client(1).await;
    let stranger = app.client(2).await;
    assert_eq!(client.call("GET", PATH, None).await.0, 404);
    let receiver = Receiver::answering(&[200]).await;
    let made = set(
        &client,
        &receiver,
        json!({"events": ["session.state", "endpoint.disabled"]}),
    )
    .await;
    assert_eq!(
        (&made["events"], &made["dead_letter_threshold"]),
        (&json!(["endpoint.disabled", "session.state"]), &json!(100))
    );
    assert!(
        made["signing_secret"]
            .as_str()
            .is_some_and(|secret| secret.starts_with("whsec_"))
    );
    let shown = client.get(PATH).await;
    assert_eq!(
        (&shown["id"], &shown["status"]),
        (&made["id"], &json!("active"))
    );
    assert!(shown.get("signing_secret").is_none());
    assert_eq!(
        client.get("/api/webhooks/list").await["data"],
        json!([]),
        "it is no number's webhook"
    );
    assert_eq!(stranger.call("GET", PATH, None).await.0, 404);
    assert_eq!(stranger.call("DELETE", PATH, None).await.0, 404);

    let change = json!({
        "webhook_url": receiver.url("/new"),
        "dead_letter_threshold": 5,
        "headers": {"x-key": "k"},
    });
    let (status, changed) = client.call("PUT", PATH, Some(change)).await;
    assert_eq!(
        (status, &changed["id"], changed.get("signing_secret")),
        (200, &made["id"], None)
    );
    assert_eq!(
        changed["events"].as_array().map(Vec::len),
        Some(4),
        "all of them, when left out"
    );
    assert_eq!(
        (&changed["dead_letter_threshold"], &changed["headers"]),
        (&json!(5), &json!({"x-key": "…"}))
    );

    it_has_an_id_of_its_own(&client, &receiver, &made).await;

    wrong_settings_are_named(&client).await;

    its_number_is_nobodys(&client, &receiver).await;

    assert_eq!(client.call("DELETE", PATH, None).await.0, 204);
    assert_eq!(client.call("GET", PATH, None).await.0, 404);
}

async fn it_has_an_id_of_its_own(client: &Client, receiver: &Receiver, made: &Value) {
    let by_id = format!("/api/webhooks/{}", made["id"].as_str().expect("an id"));
    assert_eq!(client.get(&by_id).await["phone_number"], Value::Null);
    assert_eq!(
        client.call("POST", &format!("{by_id}/test"), None).await.0,
        202
    );
    let test = receiver.wait_for(1).await.remove(0);
    assert_eq!(
        (&test.json()["type"], test.header("x-key")),
        (&json!("test"), "k")
    );
}

/// The number that it stands under cannot be registered or written to.
async fn its_number_is_nobodys(client: &Client, receiver: &Receiver) {
    let register = json!({"phone_number": "10000", "webhook_url": receiver.url("/")});
    let (status, answer) = client
        .call("POST", "/api/webhooks/register", Some(register))
        .await;
    assert_eq!(
        (status, &answer["errors"][0]["pointer"]),
        (400, &json!("/phone_number"))
    );
    let message =
        json!({"phone_number": "10000", "message_id": "M1", "from": "x", "type": "operational"});
    assert_eq!(
        client.call("POST", "/api/messages", Some(message)).await.0,
        400
    );
}

async fn wrong_settings_are_named(client: &Client) {
    let wrong =
        json!({"webhook_url": "ftp://x", "events": ["nothing"], "dead_letter_threshold": 0});
    let (status, answer) = client.call("PUT", PATH, Some(wrong)).await;
    let mut pointers: Vec<_> = answer["errors"]
        .as_array()
        .expect("errors")
        .iter()
        .map(|error| error["pointer"].clone())
        .collect();
    pointers.sort_by_key(ToString::to_string);
    assert_eq!(
        (status, pointers),
        (
            400,
            vec![
                json!("/dead_letter_threshold"),
                json!("/events"),
                json!("/webhook_url")
            ]
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_webhook_is_told_and_so_is_its_return() {
    let app = App::start().await;
    let client = app.client(1).await;
    let stranger = app.client(2).await;
    let operations = Receiver::answering(&[200]).await;
    let foreign = Receiver::answering(&[200]).await;
    let made = set(&client, &operations, json!({})).await;
    set(&stranger, &foreign, json!({})).await;
    let receiver = Receiver::answering(&[410]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;

    let told = operations.wait_for(1).await.remove(0);
    let body = told.json();
    assert_eq!(
        (&body["type"], &body["client_id"]),
        (&json!("endpoint.disabled"), &json!(1))
    );
    assert_eq!(
        body["data"],
        json!({"webhook_id": webhook["id"], "phone_number": PHONE, "reason": "gone"})
    );
    assert!(
        body["timestamp"]
            .as_str()
            .is_some_and(|at| at.ends_with('Z')),
        "{body}"
    );
    assert!(told.signed_by(made["signing_secret"].as_str().expect("shown once")));
    let audit = client
        .event_when(&made, body_id(&client, &made).await.as_str(), "delivered")
        .await;
    assert_eq!(
        (&audit["message_type"], &audit["payload"]),
        (&json!("operational"), &body)
    );

    receiver.reply(Reply::status(200));
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    assert_eq!(
        client
            .call("PATCH", &path, Some(json!({"is_active": true})))
            .await
            .0,
        200
    );
    let back = operations.wait_for(2).await.remove(1).json();
    assert_eq!(
        (&back["type"], &back["data"]["webhook_id"]),
        (&json!("endpoint.enabled"), &webhook["id"])
    );
    // Pausing is the client's own doing, and so is what follows.
    for active in [false, true] {
        client
            .call("PATCH", &path, Some(json!({"is_active": active})))
            .await;
    }
    client.publish(PHONE, "M2").await;
    client.event_when(&webhook, "M2", "delivered").await;
    assert_eq!(operations.received().len(), 2);
    assert_eq!(foreign.received().len(), 0, "another client hears nothing");
}

/// The message id of the first operational event.
async fn body_id(client: &Client, made: &Value) -> String {
    eventually("the notice is in the audit", async || {
        client
            .events(made)
            .await
            .pop()
            .map(|event| event["message_id"].as_str().expect("an id").to_owned())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn many_dead_letters_are_told_once() {
    let app = App::start().await;
    let client = app.client(1).await;
    let operations = Receiver::answering(&[200]).await;
    set(&client, &operations, json!({"dead_letter_threshold": 3})).await;
    let receiver = Receiver::answering(&[400]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    for id in ["M1", "M2"] {
        client.publish(PHONE, id).await;
        client.event_when(&webhook, id, "failed").await;
    }
    stays(LONGER_THAN_A_LOOK, "two are not three", async || {
        operations.received().is_empty()
    })
    .await;
    client.publish(PHONE, "M3").await;
    let told = operations.wait_for(1).await.remove(0).json();
    assert_eq!(told["type"], "dead_letters");
    assert_eq!(
        (&told["data"]["count"], &told["data"]["threshold"]),
        (&json!(3), &json!(3))
    );
    for id in ["M4", "M5"] {
        client.publish(PHONE, id).await;
        client.event_when(&webhook, id, "failed").await;
    }
    stays(LONGER_THAN_A_LOOK, "once an hour is enough", async || {
        operations.received().len() == 1
    })
    .await;
    let consumers = app.nats.jetstream().await;
    let info: Value = consumers
        .request("STREAM.INFO.WA_DLQ", &())
        .await
        .expect("the stream");
    assert_eq!(
        info["state"]["consumer_count"].as_u64().unwrap_or_default(),
        0,
        "what counted is gone"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sessions_states_are_told_and_held_while_it_is_paused() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp(&server, &[]).await;
    let client = app.client(1).await;
    let operations = Receiver::answering(&[200]).await;
    set(&client, &operations, json!({"events": ["session.state"]})).await;
    let (session, _device) = link(&client, &server, json!({}), PHONE).await;
    let states = |receiver: &Receiver| -> Vec<Value> {
        of_type(receiver, "session.state")
            .iter()
            .map(|one| one.json()["data"]["state"].clone())
            .collect()
    };
    eventually("it is told that it is connected", async || {
        states(&operations)
            .contains(&json!("connected"))
            .then_some(())
    })
    .await;
    let told = of_type(&operations, "session.state");
    assert!(
        told.iter()
            .all(|one| one.json()["data"]["session_id"] == session)
    );
    let connected = told
        .iter()
        .map(Received::json)
        .find(|body| body["data"]["state"] == "connected")
        .expect("told");
    assert_eq!(connected["data"]["phone_number"], PHONE);

    let pause = json!({
        "webhook_url": operations.url("/ops"),
        "events": ["session.state"],
        "is_active": false,
    });
    assert_eq!(client.call("PUT", PATH, Some(pause)).await.0, 200);
    let before = operations.received().len();
    assert_eq!(
        client
            .call("POST", &format!("/api/sessions/{session}/restart"), None)
            .await
            .0,
        202
    );
    eventually("a notice is held", async || {
        (app.nats.messages("WA_HOLD").await > 0).then_some(())
    })
    .await;
    when(&client, &session, "connected").await;
    assert_eq!(operations.received().len(), before);
    let resume = json!({"webhook_url": operations.url("/ops"), "events": ["session.state"]});
    assert_eq!(client.call("PUT", PATH, Some(resume)).await.0, 200);
    operations.wait_for(before + 1).await;
}
