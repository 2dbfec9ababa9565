//! A node killed at each step at which the first of a line makes way for the next.

use std::time::{Duration, Instant};

use tokio::time::timeout;

use super::{CHAT, at_last, first, nothing_is_left, ordered, publish, waits};
use crate::support::{
    app::{App, WAIT_MAX},
    proxy::{At, NatsProxy},
    receiver::{Receiver, Reply},
};

const SETTINGS: [(&str, &str); 4] = [
    ("BUS__ACK_WAIT", "16s"),
    ("DELIVER__TIMEOUT", "1s"),
    ("DELIVER__LANE_WAIT", "500ms"),
    ("DELIVER__RETRY_BASE", "3s"),
];

/// A1 fails once, A2 and A3 wait for it; the node dies just before it sends this. So many at most
/// come once more.
async fn killed_before(step: &str, again: usize) {
    let app = App::playing("api,record", &SETTINGS).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(500), Reply::status(200)]).await;
    let webhook = ordered(&client, &receiver).await;
    let proxy = NatsProxy::start(app.nats.port()).await;
    let mut deliver = app.second_with("deliver", &[("NATS__URL", &proxy.url())]);
    waits(&client, &webhook, "A1").await;
    for id in ["A2", "A3"] {
        publish(&client, CHAT, id, "text").await;
        client.event_when(&webhook, id, "pending").await;
    }
    let reached = proxy.trap(At::Subject, step);
    timeout(WAIT_MAX, reached)
        .await
        .expect("in time")
        .expect("the node gets there");
    deliver.kill().await;
    let killed = Instant::now();
    let _next = app.second("deliver");
    at_last("the last one came", async || {
        receiver.ids().contains(&"A3".to_owned())
    })
    .await;
    nothing_is_left(&app).await;
    // Before the sweep can have found anything.
    assert!(
        killed.elapsed() < Duration::from_secs(30),
        "{:?}",
        killed.elapsed()
    );
    for id in ["A1", "A2", "A3"] {
        client.event_when(&webhook, id, "delivered").await;
    }
    assert_eq!(first(&receiver), ["A1", "A2", "A3"]);
    assert!(
        receiver.ids().len() <= 4 + again,
        "no more than {again} are sent again: {:?}",
        receiver.ids()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_head_leaves_the_queue_stops_no_chat() {
    killed_before("MSG.DELETE.WA_CHAT", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_next_is_dispatched_stops_no_chat() {
    killed_before("wa.retry.", 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_result_is_durable_stops_no_chat() {
    // A2 was on its way by then.
    killed_before("wa.result.", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_before_the_retry_is_parked_stops_no_chat() {
    let app = App::playing("api,record", &SETTINGS).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(500), Reply::status(200)]).await;
    let webhook = ordered(&client, &receiver).await;
    let proxy = NatsProxy::start(app.nats.port()).await;
    let reached = proxy.trap(At::Subject, "wa.park.");
    let mut deliver = app.second_with("deliver", &[("NATS__URL", &proxy.url())]);
    publish(&client, CHAT, "A1", "text").await;
    timeout(WAIT_MAX, reached)
        .await
        .expect("in time")
        .expect("the node gets there");
    deliver.kill().await;
    let _next = app.second("deliver");
    publish(&client, CHAT, "A2", "text").await;
    at_last("the last one came", async || {
        receiver.ids().contains(&"A2".to_owned())
    })
    .await;
    nothing_is_left(&app).await;
    client.event_when(&webhook, "A1", "delivered").await;
    assert_eq!(receiver.ids(), ["A1", "A1", "A2"]);
}
