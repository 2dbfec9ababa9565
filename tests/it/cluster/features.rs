//! Each role with the user that `nats/cluster.conf` gives it, and no more.

use std::{fs, fs::File, path::Path};

use serde_json::{Value, json};
use whatsapp_sim::{Server, content};

use super::{PHONE, STEP_MAX, link};
use crate::support::{
    app::{App, Client, eventually},
    nats::NatsServer,
    process::Node,
    receiver::{Receiver, Reply},
};

const ORDERED: &str = "4915112345679";
const SLOW: &str = "4915112345670";
const PASSWORD: &str = "for-tests";

/// The file without what makes it one of three, and with its variables filled in.
fn alone() -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("nats/cluster.conf");
    let text = fs::read_to_string(file).expect("the file is there");
    let (before, rest) = text
        .split_once("\ncluster {")
        .expect("a block named cluster");
    let (_, after) = rest.split_once("\n}\n").expect("an end of it");
    let mut text = format!("{before}\n{after}").replace("$SERVER_NAME", "alone");
    for role in ["OPERATOR", "API", "INGEST", "DELIVER", "RECORD"] {
        text = text.replace(&format!("${role}_PASSWORD"), PASSWORD);
    }
    let other = |line: &&str| {
        !["http:", "listen:", "store_dir:"]
            .iter()
            .any(|key| line.trim().starts_with(key))
    };
    text.lines()
        .filter(other)
        .map(|line| format!("{line}\n"))
        .collect()
}

fn user(role: &str) -> [(&'static str, String); 3] {
    [
        ("NATS__USER", role.to_owned()),
        ("NATS__PASSWORD", PASSWORD.to_owned()),
        ("NATS__INBOX_PREFIX", format!("_INBOX_{role}")),
    ]
}

async fn role(app: &App, role: &str) -> Node {
    let log = File::options()
        .create(true)
        .append(true)
        .open(log_of(app, role))
        .expect("a writable folder");
    let user = user(role);
    let settings: Vec<_> = user
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let (mut node, _) = app.second_logging(role, &settings, log.into());
    node.ready().await;
    node
}

fn log_of(app: &App, role: &str) -> std::path::PathBuf {
    app.data.path().join(format!("{role}.log"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_does_its_work_with_the_permissions_of_its_user() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alone.conf");
    fs::write(&file, alone()).expect("a writable folder");
    let nats = NatsServer::with(vec!["--config".to_owned(), file.display().to_string()]).await;
    let whatsapp = Server::start().await.expect("the stand-in starts");
    let api = user("api");
    let settings: Vec<_> = api
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let app = App::on_both(nats, "api", &whatsapp, &settings).await;
    app.leaves_work("this server shows its streams to users alone");
    let _record = role(&app, "record").await;
    let _ingest = role(&app, "ingest").await;
    let mut deliver = role(&app, "deliver").await;
    let client = app.client_by(1, &[], &user("operator")).await;

    let (ordered, _receiver) = fails_and_is_sent_again(&client).await;

    is_held_and_released(&client, &ordered).await;

    let _deliver = goes_on_at_the_next_node(&app, &client, &mut deliver).await;

    receives_and_sends(&client, &whatsapp).await;

    let logs = ["record", "ingest", "deliver"]
        .map(|role| fs::read_to_string(log_of(&app, role)).expect("a log"));
    let all = logs.join("") + &app.log();
    let denied: Vec<_> = all
        .lines()
        .filter(|line| line.contains("Violation"))
        .collect();
    assert!(denied.is_empty(), "{denied:#?}");
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
