//! Short work whose end does nothing to the node.

use serde_json::json;
use wahook::{
    model::{ClientId, Delivery, EventId, Kind, Priority, Timestamp, WebhookId},
    tasks::{OnEnd, TaskKind},
};

use super::{PHONE, Place, SETTINGS, Scene, kinds};
use crate::support::app::{App, eventually};

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
            let path = format!("/api/webhooks/{webhook}");
            let fewer = json!({"in_flight": 2});
            let (status, _) = scene.client.call("PATCH", &path, Some(fewer)).await;
            assert_eq!(status, 200);
            scene.client.publish(PHONE, "fewer-at-once").await;
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
