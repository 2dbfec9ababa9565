//! Commands and starts while the servers elect a leader, or have copies that are behind.

use std::time::Duration;

use wahook::bus::CopyFault;

use super::role;
use crate::support::{
    app::{App, eventually},
    cluster::Cluster,
    nats::NatsServer,
    process::{Env, run, wahook},
};

/// What an operator's command is run with.
fn operator(nats: &NatsServer) -> Env {
    let login = nats.login("operator").into_iter();
    [
        ("NATS__URL", nats.url()),
        ("BUS__REPLICAS", "3".to_owned()),
        ("BUS__HOLD_BYTES_MAX", "1GiB".to_owned()),
    ]
    .into_iter()
    .chain(login)
    .map(|(key, value)| (format!("WAHOOK__{key}"), value))
    .collect()
}

/// Exit code and standard output.
async fn attempt(env: &Env, arguments: &[&str]) -> (Option<i32>, String) {
    let output = wahook(env).args(arguments).output().await;
    let output = output.expect("the executable starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text)
}

fn three(nats: &mut NatsServer) -> &mut Cluster {
    nats.cluster.as_mut().expect("three")
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_waits_for_a_leader_and_check_names_the_copies_that_are_missing() {
    let mut nats = NatsServer::cluster().await;
    let mut config = nats.config();
    config.bus.replicas = 3;
    let bus = nats.connect_with(&config).await;
    bus.apply().await.expect("applies");

    let dead = three(&mut nats).meta_leader().await;
    three(&mut nats).kill(dead).await;
    // Another size for one of the streams: there is something to do.
    let told = run(&operator(&nats), &["bus", "apply"]).await;
    assert!(told.contains("updated stream WA_HOLD"), "{told}");

    let name = format!("n{}", dead + 1);
    let env = operator(&nats);
    let told = eventually("the dead server is noticed", async || {
        let (code, told) = attempt(&env, &["bus", "check"]).await;
        assert!(told.contains("the streams are as declared"), "{told}");
        (code == Some(1)).then_some(told)
    })
    .await;
    assert!(told.contains(&name), "{told}");
    assert!(told.contains("copies are not complete"), "{told}");

    three(&mut nats).start_again(dead);
    eventually("all copies are complete again", async || {
        let (code, _) = attempt(&env, &["bus", "check"]).await;
        (code == Some(0)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_returns_once_the_copies_that_it_asks_for_are_complete() {
    let nats = NatsServer::cluster().await;
    let mut config = nats.config();
    let bus = nats.connect_with(&config).await;
    bus.apply().await.expect("applies");
    let context = nats.jetstream().await;
    let sent = (0..400).map(async |number: u32| {
        let subject = format!("wa.msg.1.49151{number:08}");
        let acknowledged = context.publish(subject, vec![b'x'; 20_000].into()).await;
        acknowledged.expect("is sent").await.expect("is stored");
    });
    futures_util::future::join_all(sent).await;

    config.bus.replicas = 3;
    let told = run(&operator(&nats), &["bus", "apply"]).await;
    assert!(!told.contains("not complete"), "{told}");
    let bus = nats.connect_with(&config).await;
    let incomplete = bus.incomplete_copies(Duration::ZERO).await;
    let mut incomplete = incomplete.expect("answers");
    // One of the streams may just have taken a change.
    incomplete.retain(|one| !matches!(one.fault, CopyFault::Behind(_, 0)));
    assert_eq!(incomplete, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_while_leaders_are_elected_becomes_ready() {
    let nats = NatsServer::cluster().await;
    let mut app = App::playing_on(nats, "api", &[("BUS__REPLICAS", "3")]).await;
    let _record = role(&app, "record").await;
    let dead = three(&mut app.nats).meta_leader().await;
    three(&mut app.nats).kill(dead).await;
    let _deliver = role(&app, "deliver").await;
    // With the next leader gone there would be too few.
    three(&mut app.nats).start_again(dead);
    app.nats
        .cluster
        .as_ref()
        .expect("three")
        .healthy(dead)
        .await;
}
