//! Loops that are started again.

use wahook::tasks::{OnEnd, TaskKind};

use super::{Place, SETTINGS, Scene, kinds};
use crate::support::{app::App, cassandra};

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
