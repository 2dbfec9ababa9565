//! Short work whose end does nothing to the node.

use serde_json::{Value, json};
use wahook::{
    model::{ClientId, Delivery, EventId, Kind, Priority, Timestamp, WebhookId},
    tasks::{OnEnd, TaskKind},
};

use super::{PHONE, Place, SETTINGS, Scene, kinds};
use crate::support::app::{App, eventually};

/// Messages that come at one a second.
const SLOW_MESSAGES: u64 = 16;

#[tokio::test(flavor = "multi_thread")]
async fn short_work_that_panics_costs_itself_alone() {
    let mut scene = Scene::new(App::with(&SETTINGS).await).await;
    // What the first of each kind needs.
    scene.works("first").await;
    for kind in kinds(Place::Node, OnEnd::Nothing) {
        scene.app.break_task(kind).await;
        start_one(&scene, kind).await;
        scene.counted(kind, 1).await;
        scene.works(&format!("after-{}", kind.as_str())).await;
    }
    scene.came(TaskKind::Message.as_str()).await;
    eventually("the replay that panicked is done", async || {
        let list = scene.client.get("/api/replays").await;
        (list["data"][0]["state"] == "done").then_some(())
    })
    .await;
    scene.app.settled().await;
    assert_eq!(scene.app.terminate().await, Some(0));
}

/// Makes the node start a task of this kind, if none lives all the time.
async fn start_one(scene: &Scene, kind: TaskKind) {
    let webhook = scene.webhook["id"].as_str().expect("an id");
    match kind {
        TaskKind::Message => drop(scene.client.publish(PHONE, kind.as_str()).await),
        TaskKind::PermitShrink => {
            set(scene, json!({"in_flight": 2})).await;
            scene.client.publish(PHONE, "fewer-at-once").await;
        }
        // One may be idle, or this starts one.
        TaskKind::EgressConnection => {
            scene.client.publish(PHONE, kind.as_str()).await;
        }
        TaskKind::DnsLookup => {
            const OTHER: &str = "4915112345679";
            scene.client.register(OTHER, "http://localhost:1/").await;
            scene.client.publish(OTHER, kind.as_str()).await;
        }
        TaskKind::BringForward => {
            set(scene, json!({"rate_per_second": 1, "burst": 1})).await;
            for number in 0..SLOW_MESSAGES {
                scene.client.publish(PHONE, &format!("slow-{number}")).await;
            }
            eventually("most are parked", async || {
                let parked = scene.app.nats.messages("WA_RETRY").await;
                (parked >= SLOW_MESSAGES / 2).then_some(())
            })
            .await;
            set(scene, json!({"rate_per_second": 1000})).await;
            scene.client.publish(PHONE, "quick-again").await;
        }
        TaskKind::AttemptQuery => {
            let bus = scene.app.nats.connect().await;
            assert!(!bus.is_recorded(&unknown(scene)).await);
        }
        TaskKind::SqliteQuery => {
            let path = format!("/api/webhooks/{webhook}/events");
            scene.client.call("GET", &path, None).await;
        }
        TaskKind::Job => {
            let (status, job) = scene
                .client
                .call("POST", "/api/replays", Some(json!({})))
                .await;
            assert_eq!(status, 202, "{job}");
        }
        // One lives all the time.
        TaskKind::Connection | TaskKind::StoreFlush => {}
        other => unreachable!("say how a task of the kind {other:?} starts"),
    }
}

/// Changes the webhook.
async fn set(scene: &Scene, change: Value) {
    let webhook = scene.webhook["id"].as_str().expect("an id");
    let path = format!("/api/webhooks/{webhook}");
    let (status, answer) = scene.client.call("PATCH", &path, Some(change)).await;
    assert_eq!(status, 200, "{answer}");
}

/// A delivery that was never attempted.
fn unknown(scene: &Scene) -> Delivery {
    let webhook_id = scene.webhook["id"].as_str().expect("an id");
    let webhook_id = WebhookId(webhook_id.parse().expect("an id"));
    let created_at = Timestamp::EPOCH;
    let message_id = "none".parse().expect("valid");
    Delivery {
        event_id: EventId::derive(created_at, webhook_id, "c", "s", &message_id, &Kind::Text),
        webhook_id,
        client_id: ClientId::try_from(1).expect("in range"),
        phone: PHONE.parse().expect("a number"),
        message_id,
        kind: Kind::Text,
        created_at,
        body: b"{}".to_vec().into(),
        attempt_count: 0,
        attempts_this_round: 0,
        priority: Priority::Normal,
        chat_key: None,
    }
}
