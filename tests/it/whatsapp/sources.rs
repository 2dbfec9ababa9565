//! What else than people's messages a session hears of, and what becomes of it.

use std::time::Duration;

use serde_json::{Value, json};
use whatsapp_sim::{Server, content};

use super::{Linked, PHONE, STEP_MAX, link};
use crate::support::{
    app::{App, eventually, stays},
    receiver::Receiver,
};

const ALICE: &str = "4915200000001";
const GROUP: &str = "120363000000000001@g.us";

#[tokio::test(flavor = "multi_thread")]
async fn own_messages_come_to_those_who_ask_for_them() {
    let server = Server::start().await.expect("the stand-in starts");
    let app = App::on_whatsapp(&server, &[]).await;
    let client = app.client(1).await;
    let (_, asking) = link(&client, &server, json!({"own_messages": true}), PHONE).await;
    let (_, other) = link(&client, &server, json!({}), "4915187654321").await;
    let receiver = Receiver::answering(&[200]).await;
    let silent = Receiver::answering(&[200]).await;
    client.register(PHONE, &receiver.url("/")).await;
    client.register("4915187654321", &silent.url("/")).await;
    let phone = server.phone(PHONE);
    let direct = phone
        .write(&asking, ALICE, content::text("on my way"))
        .await
        .expect("sent");
    let group = phone
        .write(&asking, GROUP, content::text("all of you"))
        .await
        .expect("sent");
    let private = server
        .phone("4915187654321")
        .write(&other, ALICE, content::text("private"))
        .await
        .expect("sent");
    for (device, id) in [(&asking, &direct), (&asking, &group), (&other, &private)] {
        device.wait_acked(id, STEP_MAX).await.expect("acknowledged");
    }
    let received = receiver.wait_for(2).await;
    for (id, chat, to) in [(&direct, ALICE, ALICE), (&group, GROUP, GROUP)] {
        let one = received
            .iter()
            .map(|one| one.json())
            .find(|one| one["message_id"] == **id)
            .expect("published");
        assert_eq!(
            (&one["from"], &one["to"], &one["type"]),
            (&json!(PHONE), &json!(to), &json!("text")),
            "{one}"
        );
        assert_eq!(
            (&one["metadata"]["from_me"], &one["metadata"]["chat"]),
            (&json!(true), &json!(chat))
        );
    }
    // What follows it has arrived: so would it have.
    server
        .contact(ALICE, "Alice")
        .send(&other, content::text("ok"))
        .await
        .expect("sent");
    let received = silent.wait_for(1).await;
    assert_eq!(
        (received.len(), &received[0].json()["content"]),
        (1, &json!("ok"))
    );
    assert_eq!(received[0].json()["metadata"]["from_me"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn channels_are_published_past_the_hook() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let channel = "120363111111111111@newsletter";
    let id = linked
        .server
        .publish(&linked.device, channel, &content::text("news"))
        .expect("sent");
    let one = receiver.wait_for(1).await.remove(0).json();
    assert_eq!(
        (&one["message_id"], &one["content"], &one["from"]),
        (&json!(id), &json!("news"), &json!(channel))
    );
    assert_eq!(
        (&one["metadata"]["chat"], &one["metadata"]["is_channel"]),
        (&json!(channel), &json!(true)),
        "{one}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_what_devices_share_are_taken_and_never_published() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let phone = linked.server.phone(PHONE);
    let id = phone
        .share_history(&linked.device, ALICE, &["old", "older"])
        .await
        .expect("sent");
    linked
        .device
        .wait_acked(&id, STEP_MAX)
        .await
        .expect("taken");
    linked
        .server
        .contact(ALICE, "Alice")
        .send(&linked.device, content::text("new"))
        .await
        .expect("sent");
    receiver.wait_for(1).await;
    stays(Duration::from_millis(500), "no history comes", async || {
        let received = receiver.received();
        received.iter().all(|one| one.json()["content"] == "new")
    })
    .await;
    assert_eq!(receiver.received().len(), 1);
    assert!(linked.device.pending().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_tells_when_it_last_had_a_message() {
    let linked = Linked::start().await;
    linked.webhook().await;
    let path = format!("/api/sessions/{}", linked.session);
    let last = async || {
        linked.client.get(&path).await["last_message_at"]
            .as_str()
            .map(str::to_owned)
    };
    assert_eq!(last().await, None);
    let before = time::OffsetDateTime::now_utc()
        .replace_nanosecond(0)
        .expect("a whole second");
    linked
        .server
        .contact(ALICE, "Alice")
        .send(&linked.device, content::text("hi"))
        .await
        .expect("sent");
    let at = eventually("it tells", last).await;
    let at = time::OffsetDateTime::parse(&at, &time::format_description::well_known::Rfc3339)
        .expect("RFC 3339");
    assert!(
        at >= before && at <= time::OffsetDateTime::now_utc(),
        "{at}"
    );
}
