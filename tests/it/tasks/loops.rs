//! Loops that are started again.

use wahook::tasks::{OnEnd, TaskKind};

use super::{Place, SETTINGS, Scene, kinds, panics_line};
use crate::support::{
    app::{App, eventually, http_client},
    cassandra,
    dev::Dev,
};

/// Breaks it, and breaks it again: the second one was started after the first.
async fn breaks_twice(scene: &Scene, kind: TaskKind) {
    for panics in 1..=2 {
        scene.app.break_task(kind).await;
        scene.counted(kind, panics).await;
        scene.works(&format!("{}-{panics}", kind.as_str())).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_that_panics_is_started_again_and_the_node_goes_on() {
    let mut scene = Scene::new(App::with(&SETTINGS).await).await;
    for kind in kinds(Place::Node, OnEnd::Restart) {
        breaks_twice(&scene, kind).await;
    }
    scene.app.settled().await;
    assert_eq!(scene.app.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_maintenance_of_cassandra_that_panics_is_started_again() {
    let Some(keyspace) = cassandra::migrated().await else {
        return;
    };
    let settings = keyspace.settings();
    let settings: Vec<_> = settings
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    let mut scene = Scene::new(App::with(&settings).await).await;
    for kind in kinds(Place::Cassandra, OnEnd::Restart) {
        breaks_twice(&scene, kind).await;
    }
    scene.app.settled().await;
    assert_eq!(scene.app.terminate().await, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_of_dev_that_panics_is_started_again() {
    let dev = Dev::new();
    let all: Vec<_> = kinds(Place::Dev, OnEnd::Restart).collect();
    assert_eq!(all, [TaskKind::JetStreamWatch]);
    let file = dev.data.path().join("break-tasks");
    let more = [("WAHOOK_BREAK_TASKS", file.display().to_string())];
    let mut node = dev.start_with(&more).await;
    let metrics = node.ready_url().replace("readyz", "metrics");
    let http = http_client();
    let kind = TaskKind::JetStreamWatch;
    for panics in 1..=2 {
        let lines = format!("{}\n", kind.as_str()).repeat(panics);
        std::fs::write(&file, lines).expect("a writable folder");
        let counted = format!("{} {panics}", panics_line(kind));
        eventually(&format!("{counted} is shown"), async || {
            let answer = http.get(&metrics).send().await.ok()?;
            let text = answer.text().await.ok()?;
            text.lines().any(|line| line == counted).then_some(())
        })
        .await;
    }
    assert_eq!(node.terminate().await, Some(0));
}
