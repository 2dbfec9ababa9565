//! Kinds that a node cannot do without.

use std::time::Duration;

use wahook::tasks::{OnEnd, TaskKind};

use super::{PHONE, Place, Scene, kinds, panics_line};
use crate::support::{
    app::{App, eventually, http_client},
    dev::Dev,
    receiver::{Receiver, Reply},
};

const SLOW_PHONE: &str = "4915112345679";
/// Long enough to see what a node says while it drains.
const ANSWER_DELAY: Duration = Duration::from_secs(3);
const SETTINGS: [(&str, &str); 4] = [
    ("BUS__ACK_WAIT", "16s"),
    ("DELIVER__TIMEOUT", "5s"),
    ("DELIVER__LANE_WAIT", "500ms"),
    ("NODE__DRAIN_DEADLINE", "11s"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_loses_a_task_it_needs_says_so_exits_with_1_and_starts_again() {
    let mut scene = Scene::new(App::with(&SETTINGS).await).await;
    let slow = Receiver::start([Reply::Slow(ANSWER_DELAY)]).await;
    scene.client.register(SLOW_PHONE, &slow.url("/")).await;
    for kind in kinds(Place::Node, OnEnd::StopNode) {
        let label = kind.as_str();
        let before = slow.received().len();
        scene.client.publish(SLOW_PHONE, label).await;
        slow.wait_for(before + 1).await;
        scene.app.break_task(kind).await;
        if kind == TaskKind::SqliteWriter {
            // A thread breaks when it has something to do.
            scene.client.publish(PHONE, "TO-BE-WRITTEN").await;
        }
        let readiness = eventually("the node is not ready", async || {
            let readiness = scene.app.readiness().await;
            (readiness != Some(200)).then_some(readiness)
        })
        .await;
        if kind != TaskKind::ProbeListener {
            assert_eq!(readiness, Some(503), "{label}");
            let panics = scene.app.metric(&panics_line(kind)).await;
            assert_eq!(panics, Some(1.0), "{label}");
        }
        assert_eq!(scene.app.ended().await, Some(1), "{label}");
        scene.app.break_no_more();
        scene.app.restart().await;
        scene.works(&format!("after-{label}")).await;
    }
    for kind in kinds(Place::Node, OnEnd::StopNode) {
        let event = async || slow.ids().into_iter().find(|id| id == kind.as_str());
        eventually("what was in flight has come", event).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dev_whose_nats_supervisor_panics_exits_with_1_and_starts_again() {
    let dev = Dev::new();
    let all: Vec<_> = kinds(Place::Dev, OnEnd::StopNode).collect();
    assert_eq!(all, [TaskKind::NatsServer]);
    let file = dev.data.path().join("break-tasks");
    let more = [("WAHOOK_BREAK_TASKS", file.display().to_string())];
    let mut node = dev.start_with(&more).await;
    std::fs::write(&file, TaskKind::NatsServer.as_str()).expect("a writable folder");
    let http = http_client();
    eventually("the node is not ready", async || {
        let answer = http.get(node.ready_url()).send().await.ok()?;
        (answer.status().as_u16() == 503).then_some(())
    })
    .await;
    assert_eq!(node.ended().await, Some(1));
    let mut node = dev.start().await;
    assert_eq!(node.terminate().await, Some(0));
}
