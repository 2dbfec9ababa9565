//! Kills, restarts and stops: nothing is lost.

use std::collections::HashSet;

use crate::support::{
    app::{App, eventually},
    dev::Dev,
    receiver::{Receiver, Reply},
};

const PHONE: &str = "4915112345678";

fn ids(receiver: &Receiver) -> HashSet<String> {
    receiver.ids().into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_process_loses_nothing() {
    // A short ack wait, so that what the killed process held comes again soon.
    let settings = [
        ("BUS__ACK_WAIT", "16s"),
        ("DELIVER__TIMEOUT", "1s"),
        ("DELIVER__LANE_WAIT", "500ms"),
    ];
    let mut app = App::with(&settings).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    let mut published = HashSet::new();
    for round in 0..3 {
        for number in 0..40 {
            let id = format!("R{round}M{number}");
            client.publish(PHONE, &id).await;
            published.insert(id);
        }
        app.kill_and_restart().await;
    }
    eventually("all came", async || {
        (ids(&receiver) == published).then_some(())
    })
    .await;
    for id in &published {
        client.event_when(&webhook, id, "delivered").await;
    }
    let extra = receiver.received().len() - published.len();
    // At most what was under way at each kill: the lane's eight requests.
    assert!(extra <= 3 * 8, "{extra} duplicates after three kills");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_process_finishes_what_is_under_way_and_doubles_nothing() {
    let mut app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    client.register(PHONE, &receiver.url("/")).await;
    let mut published = HashSet::new();
    for number in 0..60 {
        let id = format!("M{number}");
        client.publish(PHONE, &id).await;
        published.insert(id);
    }
    assert_eq!(app.terminate().await, Some(0));
    app.restart().await;
    eventually("all came", async || {
        (ids(&receiver) == published).then_some(())
    })
    .await;
    assert_eq!(
        receiver.received().len(),
        published.len(),
        "a clean stop doubles nothing"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_retry_survives_a_restart_of_everything() {
    let mut app = App::with(&[("DELIVER__RETRY_BASE", "3s")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(500), Reply::status(200)]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "M1").await;
    client.event_when(&webhook, "M1", "pending").await;
    app.nats.kill_and_restart().await;
    app.kill_and_restart().await;
    let event = client.event_when(&webhook, "M1", "delivered").await;
    assert_eq!(event["attempt_count"], 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_dev_node_starts_again_and_ends_what_it_left_behind() {
    let dev = Dev::new();
    for _ in 0..2 {
        let mut node = dev.start().await;
        // The nats-server child stays behind, and has to be found and ended by the next.
        node.kill().await;
    }
    let mut node = dev.start().await;
    assert_eq!(node.terminate().await, Some(0));
}
