//! Sessions whose keys are in JetStream, on nodes without a folder.

use std::time::{Duration, Instant};

use serde_json::json;
use whatsapp_sim::{Contact, Device, Server, content};

use super::{STEP_MAX, link, sending::send_through};
use crate::support::{
    app::{App, Client, eventually, stays},
    process::Node,
};

const KEYS: (&str, &str) = ("WHATSAPP__KEYS", "jetstream");
const BOB: &str = "4915200000009";
/// From SIGTERM or a kill of the node that runs a session until another has connected it.
const MOVED_MAX: Duration = Duration::from_secs(3);
const TAKEN_MAX: Duration = Duration::from_secs(10);

struct Scene {
    server: Server,
    app: App,
    client: Client,
}

impl Scene {
    async fn set() -> Self {
        let server = Server::start().await.expect("the stand-in starts");
        let settings = [KEYS, ("WHATSAPP__SENDS_PER_MINUTE", "6000")];
        let app = App::on_whatsapp_playing("api", &server, &settings).await;
        app.leaves_work("nobody takes messages out of the stream");
        let client = app.client(1).await;
        Self {
            server,
            app,
            client,
        }
    }

    fn node(&self) -> Node {
        self.app
            .second_with("ingest", &[("WHATSAPP__SESSIONS_DIR", "/proc/no/folder")])
    }

    async fn link(&self, count: usize) -> Vec<Linked> {
        let mut all = Vec::new();
        for number in 0..count {
            let phone = format!("49151123456{number:02}");
            let (id, device) = link(&self.client, &self.server, json!({}), &phone).await;
            all.push(Linked { id, device });
        }
        all
    }

    async fn send(&self, session: &str, text: &str) {
        eventually("a message is sent", async || {
            let body = json!({"session_id": session, "to": BOB, "text": text});
            let (status, _, _) = send_through(&self.app, &self.client, None, body).await;
            (status == 202).then_some(())
        })
        .await;
    }
}

struct Linked {
    id: String,
    device: Device,
}

/// Receives one, and it is decrypted at once.
async fn receives(alice: &Contact, device: &Device) {
    let id = alice
        .send(device, content::text("hello"))
        .await
        .expect("sent");
    device.wait_acked(&id, STEP_MAX).await.expect("received");
    assert_eq!(device.retries(), Vec::<String>::new(), "nothing was lost");
}

async fn read_by(bob: &Contact, device: &Device, text: &str) {
    let (_, message) = bob
        .receive(device, STEP_MAX)
        .await
        .expect("Bob can read it");
    assert_eq!(message.conversation.as_deref(), Some(text));
}

/// How long it takes until all have logged in once more.
async fn logged_in_again(sessions: &[Linked], logins: &[u32], within: Duration) -> Duration {
    let since = Instant::now();
    for (one, logins) in sessions.iter().zip(logins) {
        let left = within.saturating_sub(since.elapsed());
        let online = one.device.wait_online(logins + 1, left).await;
        online.unwrap_or_else(|error| panic!("not within {within:?}: {error}"));
    }
    since.elapsed()
}

fn logins(sessions: &[Linked]) -> Vec<u32> {
    sessions.iter().map(|one| one.device.logins()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_lives_on_without_a_folder_through_kills_and_restarts() {
    let scene = Scene::set().await;
    let mut node = scene.node();
    let session = scene.link(1).await.remove(0);
    let device = &session.device;
    let alice = scene.server.contact("4915200000001", "Alice");
    let bob = scene.server.contact(BOB, "Bob");
    for round in 0..3 {
        let logins = device.logins();
        receives(&alice, device).await;
        receives(&bob, device).await;
        let text = format!("round {round}");
        scene.send(&session.id, &text).await;
        read_by(&bob, device, &text).await;
        if round == 1 {
            assert_eq!(node.terminate().await, Some(0));
        } else {
            node.kill().await;
        }
        device.wait_offline(STEP_MAX).await.expect("it is gone");
        node = scene.node();
        let online = device.wait_online(logins + 1, STEP_MAX).await;
        online.expect("taken up again, without being linked again");
        receives(&alice, device).await;
    }
    let path = format!("/api/sessions/{}", session.id);
    let (status, _) = scene.client.call("DELETE", &path, None).await;
    assert_eq!(status, 204);
    assert!(!device.is_linked(), "WhatsApp was told");
    assert_eq!(scene.app.nats.messages("WA_KEYS").await, 1, "a tombstone");
    assert!(!scene.app.data.path().join("sessions").exists());
    node.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_are_shared_by_the_nodes_and_move_when_one_stops_or_dies() {
    let scene = Scene::set().await;
    let mut first = scene.node();
    let sessions = scene.link(4).await;
    let alice = scene.server.contact("4915200000001", "Alice");
    let before = logins(&sessions);
    let mut second = scene.node();
    let moved = async || {
        let all = sessions.iter().zip(&before);
        let moved = all
            .filter(|(one, logins)| one.device.logins() == **logins + 1 && one.device.is_online());
        moved.count()
    };
    eventually("half of them have moved", async || {
        (moved().await == 2).then_some(())
    })
    .await;
    stays(Duration::from_secs(3), "no more than half", async || {
        moved().await == 2
    })
    .await;
    let (here, there): (Vec<Linked>, Vec<Linked>) = sessions
        .into_iter()
        .zip(before)
        .map(|(one, logins)| (one.device.logins() > logins, one))
        .fold((Vec::new(), Vec::new()), |(mut here, mut there), one| {
            if one.0 { &mut there } else { &mut here }.push(one.1);
            (here, there)
        });

    let before = logins(&there);
    second.signal("TERM").await;
    let took = logged_in_again(&there, &before, MOVED_MAX).await;
    println!("moved at SIGTERM in {took:?}");
    assert_eq!(second.ended().await, Some(0));
    for one in there.iter().chain(&here) {
        receives(&alice, &one.device).await;
    }
    let all: Vec<Linked> = there.into_iter().chain(here).collect();
    let third_is_for_all = logins(&all);
    let mut third = scene.node();
    third.ready().await;
    first.kill().await;
    let took = logged_in_again(&all, &third_is_for_all, TAKEN_MAX).await;
    println!("moved after a kill in {took:?}");
    for one in &all {
        receives(&alice, &one.device).await;
    }
    third.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_node_cannot_write_any_more_and_nothing_is_lost_or_twice() {
    let scene = Scene::set().await;
    let mut first = scene.node();
    let session = scene.link(1).await.remove(0);
    let device = &session.device;
    let alice = scene.server.contact("4915200000001", "Alice");
    let mut sent = vec![alice.send(device, content::text("0")).await.expect("sent")];
    device
        .wait_acked(&sent[0], STEP_MAX)
        .await
        .expect("received");
    let logins = device.logins();
    first.signal("STOP").await;
    sent.push(alice.send(device, content::text("1")).await.expect("sent"));
    let mut second = scene.node();
    let online = device
        .wait_online(logins + 1, Duration::from_secs(30))
        .await;
    online.expect("taken over from the paused node");
    sent.push(alice.send(device, content::text("2")).await.expect("sent"));
    first.signal("CONT").await;
    sent.push(alice.send(device, content::text("3")).await.expect("sent"));
    device.wait_idle(STEP_MAX).await.expect("all received");
    stays(
        Duration::from_secs(5),
        "the first does not take it back",
        async || device.logins() == logins + 1 && device.is_online(),
    )
    .await;
    assert_eq!(device.retries(), Vec::<String>::new(), "nothing was lost");
    let mut stored = super::order::Stored::new(&scene.app.nats).await;
    let mut ids = stored.look().await.to_vec();
    ids.sort();
    sent.sort();
    assert_eq!(ids, sent, "each once");
    first.kill().await;
    second.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_lost_their_end_are_not_used() {
    let scene = Scene::set().await;
    let mut node = scene.node();
    let session = scene.link(1).await.remove(0);
    let alice = scene.server.contact("4915200000001", "Alice");
    receives(&alice, &session.device).await;
    assert_eq!(node.terminate().await, Some(0));
    let logins = session.device.logins();
    let context = scene.app.nats.jetstream().await;
    let stream = context.get_stream("WA_KEYS").await.expect("is there");
    let last = stream.cached_info().state.last_sequence;
    stream.delete_message(last).await.expect("deleted");

    node = scene.node();
    let found = super::when(&scene.client, &session.id, "keys_outdated").await;
    let reason = found["reason"].as_str().expect("a reason");
    assert!(reason.contains("link the phone again"), "{reason}");
    assert_eq!(session.device.logins(), logins, "it was not connected");
    node.kill().await;
}
