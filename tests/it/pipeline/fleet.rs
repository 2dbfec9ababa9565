//! Several nodes that deliver: each partition is one node's, whichever nodes join, leave or die.

use std::{
    collections::HashSet,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{
    app::{App, eventually},
    receiver::Receiver,
};

const PHONE: &str = "4915112345678";
/// As many as `bus.partitions` says by default.
const PARTITIONS: usize = 8;

/// The node of each partition, once each has exactly one and there are so many nodes.
pub(crate) async fn settled(app: &App, nodes: usize) -> Vec<String> {
    eventually(&format!("{nodes} nodes share the partitions"), async || {
        let shown: Value =
            serde_json::from_str(&app.command(&["partitions", "--json"]).await).expect("JSON");
        let of = |one: &Value| {
            one["nodes"].as_array().filter(|nodes| nodes.len() == 1)?[0]
                .as_str()
                .map(str::to_owned)
        };
        let owners: Vec<String> = shown
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(of)
            .collect();
        let different = owners.iter().collect::<HashSet<_>>().len();
        (owners.len() == PARTITIONS && different == nodes).then_some(owners)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_are_shared_and_a_dead_nodes_move() {
    let app = App::start().await;
    assert_eq!(settled(&app, 1).await.len(), PARTITIONS);
    let mut second = app.second("deliver");
    let shared = settled(&app, 2).await;
    for node in &shared {
        assert_eq!(
            shared.iter().filter(|other| *other == node).count(),
            PARTITIONS / 2,
            "an even share"
        );
    }

    second.kill().await;
    // Numbers enough for every partition.
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    for number in 0..48 {
        let phone = format!("49151{number:08}");
        client.register(&phone, &receiver.url("/")).await;
        client.publish(&phone, &format!("M{number}")).await;
    }
    // Long before `bus.ack_wait`.
    receiver.wait_for(48).await;
    assert_eq!(settled(&app, 1).await.len(), PARTITIONS);
    assert_eq!(
        receiver.received().len(),
        48,
        "none twice: the dead node held none"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_holds_over_all_nodes_while_they_come_and_go() {
    const RATE: usize = 40;
    const BURST: usize = 10;
    const MESSAGES: usize = 400;
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = json!({
        "phone_number": PHONE, "webhook_url": receiver.url("/"), "rate_per_second": RATE,
        "burst": BURST,
    });
    let webhook = client.register_with(webhook).await;
    assert_eq!(
        (&webhook["rate_per_second"], &webhook["burst"]),
        (&json!(RATE), &json!(BURST))
    );
    for number in 0..MESSAGES {
        client.publish(PHONE, &format!("M{number}")).await;
    }
    // Whichever node has the partition, some of these handovers move it.
    for _ in 0..2 {
        let mut second = app.second("deliver");
        settled(&app, 2).await;
        let mut third = app.second("deliver");
        settled(&app, 3).await;
        assert_eq!(second.terminate().await, Some(0));
        settled(&app, 2).await;
        assert_eq!(third.terminate().await, Some(0));
        settled(&app, 1).await;
    }
    let received = receiver.wait_for(MESSAGES).await;
    assert_eq!(received.len(), MESSAGES, "none twice");
    let times: Vec<Instant> = received.iter().map(|one| one.at).collect();
    let window = |from: &Instant| {
        times
            .iter()
            .filter(|at| **at >= *from && **at - *from < Duration::from_secs(1))
            .count()
    };
    let most = times.iter().map(window).max().expect("some came");
    // Requests that left in time may arrive a moment late: a machine under load adds a few.
    assert!(most <= (RATE + BURST) * 11 / 10, "{most} within a second");
    assert!(most >= RATE / 2, "the rate was used: {most}");
}
