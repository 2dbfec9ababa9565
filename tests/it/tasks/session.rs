//! Short work around a WhatsApp session.

use serde_json::json;
use wahook::tasks::{OnEnd, TaskKind};
use whatsapp_sim::{Contact, Device, Server, content};

use super::{PHONE, Place, SETTINGS, Scene, kinds};
use crate::{
    support::app::{App, WAIT_MAX, eventually},
    whatsapp::link,
};

const ALICE: &str = "4915200000001";

/// A node with a linked session.
struct Linked {
    scene: Scene,
    session: String,
    device: Device,
    alice: Contact,
    /// The id of a media file that came.
    media: String,
}

#[tokio::test(flavor = "multi_thread")]
async fn work_of_a_session_that_panics_costs_at_most_a_new_login() {
    let server = Server::start().await.expect("the stand-in starts");
    let mut linked = linked(&server).await;
    let restarted = kinds(Place::Session, OnEnd::Restart);
    for kind in kinds(Place::Session, OnEnd::Nothing).chain(restarted) {
        let logins = linked.device.logins();
        linked.scene.app.break_task(kind).await;
        start_one(&linked, kind).await;
        linked.scene.counted(kind, 1).await;
        if ends_session(kind) {
            eventually("the session logs in again", async || {
                (linked.device.logins() > logins).then_some(())
            })
            .await;
        }
        works(&linked, kind.as_str()).await;
    }
    linked.scene.app.settled().await;
    assert_eq!(linked.scene.app.terminate().await, Some(0));
}

async fn linked(server: &Server) -> Linked {
    let own = [
        ("WHATSAPP__SENDS_PER_MINUTE", "6000"),
        ("WHATSAPP__KEYS", "jetstream"),
    ];
    let app = App::on_whatsapp(server, &[&SETTINGS[..], &own].concat()).await;
    let scene = Scene::new(app).await;
    let (session, device) = link(&scene.client, server, json!({}), PHONE).await;
    let alice = server.contact(ALICE, "Alice");
    server.contact("4915200000009", "Bob");
    let image = server.image(&[7; 1000], "look").expect("an image");
    alice.send(&device, image).await.expect("sent");
    let received = scene.receiver.wait_for(1).await.remove(0).json();
    let media = received["metadata"]["media"]["id"].as_str();
    Linked {
        session,
        device,
        alice,
        media: media.expect("a media id").to_owned(),
        scene,
    }
}

/// Whether the session ends with it, and another is started.
fn ends_session(kind: TaskKind) -> bool {
    match kind {
        TaskKind::Session
        | TaskKind::LeaseRenewal
        | TaskKind::KeyWriter
        | TaskKind::ClientShutdown => true,
        TaskKind::OutboundMessage | TaskKind::MediaDownload | TaskKind::NodeLease => false,
        other => unreachable!("say whether {other:?} ends a session"),
    }
}

/// Makes the node start a task of this kind, if none lives all the time.
async fn start_one(linked: &Linked, kind: TaskKind) {
    let client = &linked.scene.client;
    match kind {
        TaskKind::OutboundMessage => drop(send(linked).await),
        TaskKind::ClientShutdown => {
            let path = format!("/api/sessions/{}/restart", linked.session);
            let (status, _) = client.call("POST", &path, None).await;
            assert_eq!(status, 202);
        }
        TaskKind::MediaDownload => {
            let status = download(linked).await;
            assert!(status >= 500, "{status}");
        }
        // One lives as long as the session, or the node.
        TaskKind::Session | TaskKind::LeaseRenewal | TaskKind::KeyWriter | TaskKind::NodeLease => {}
        other => unreachable!("say how a task of the kind {other:?} starts"),
    }
}

async fn send(linked: &Linked) -> u16 {
    let body = json!({"session_id": linked.session, "to": "4915200000009", "text": "hi"});
    let path = "/api/messages/send";
    let (status, _) = linked.scene.client.call("POST", path, Some(body)).await;
    status
}

async fn download(linked: &Linked) -> u16 {
    let path = format!("/api/media/{}", linked.media);
    linked.scene.client.text(&path).await.0
}

/// Receiving, sending and media work.
async fn works(linked: &Linked, message: &str) {
    let text = content::text(message);
    let id = linked.alice.send(&linked.device, text).await.expect("sent");
    let acked = linked.device.wait_acked(&id, WAIT_MAX).await;
    acked.expect("the session takes it");
    linked.scene.came(&id).await;
    eventually("a message can be sent", async || {
        (send(linked).await == 202).then_some(())
    })
    .await;
    eventually("media can be had", async || {
        (download(linked).await == 200).then_some(())
    })
    .await;
    linked.scene.works(&format!("api-{message}")).await;
}
