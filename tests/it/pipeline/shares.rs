//! One client's slow endpoints and large messages take no more than their share of a node.

use std::{
    collections::HashMap,
    process::Stdio,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use serde_json::json;
use tokio::time::interval;
use wahook::{
    model::{ClientId, Phone},
    wire::subject::partition,
};

use crate::support::{
    app::{App, Client, eventually},
    receiver::{Receiver, Reply},
};

const PARTITIONS: u16 = 8;
const SLOW: Duration = Duration::from_secs(9);

/// Numbers of a client in a partition.
fn phones(client: u64, wanted: u16) -> impl Iterator<Item = String> {
    let client = ClientId::try_from(client).expect("in range");
    (0..)
        .map(|number| format!("49151{number:08}"))
        .filter(move |phone| {
            let phone: Phone = phone.parse().expect("valid");
            partition(client, &phone, PARTITIONS) == wanted
        })
}

async fn register(client: &Client, phone: &str, url: &str, in_flight: u32) {
    let body = json!({
        "phone_number": phone,
        "webhook_url": url,
        "rate_per_second": 10_000,
        "burst": 10_000,
        "in_flight": in_flight,
    });
    client.register_with(body).await;
}

/// The times from publishing to the endpoint, of ten messages a second in turn to these numbers.
async fn latencies(
    client: &Client,
    phones: &[String],
    receiver: &Receiver,
    name: &str,
    count: usize,
) -> Vec<Duration> {
    let mut published = HashMap::new();
    let mut pace = interval(Duration::from_millis(100));
    for number in 0..count {
        pace.tick().await;
        let id = format!("{name}{number}");
        published.insert(id.clone(), Instant::now());
        client.publish(&phones[number % phones.len()], &id).await;
    }
    let came = eventually("all came", async || {
        let came: HashMap<String, Instant> = receiver
            .ids()
            .into_iter()
            .zip(receiver.received())
            .map(|(id, received)| (id, received.at))
            .filter(|(id, _)| published.contains_key(id))
            .collect();
        (came.len() == count).then_some(came)
    })
    .await;
    let mut latencies: Vec<_> = came
        .iter()
        .map(|(id, at)| at.saturating_duration_since(published[id]))
        .collect();
    latencies.sort_unstable();
    latencies
}

fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() - 1) * percent / 100]
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers_of_one_client_do_not_slow_another() {
    let settings = [
        ("DELIVER__TIMEOUT", "12s"),
        ("DELIVER__IN_FLIGHT_MAX", "256"),
    ];
    let app = App::with(&settings).await;
    app.leaves_work("what waits at slow endpoints in the end is not waited for");
    let greedy = Arc::new(app.client(1).await);
    let quick = app.client(2).await;
    let slow_endpoint = Receiver::start([Reply::Slow(SLOW)]).await;
    let quick_endpoint = Receiver::answering(&[200]).await;
    // All of the first client in one partition: their 640 requests are more than its loop's slots.
    let shared = 3;
    let targets: Vec<_> = phones(1, shared).take(5).collect();
    for phone in &targets {
        register(&greedy, phone, &slow_endpoint.url("/"), 128).await;
    }
    let of_quick =
        [shared, shared + 1].map(|partition| phones(2, partition).next().expect("there are many"));
    for phone in &of_quick {
        register(&quick, phone, &quick_endpoint.url("/"), 8).await;
    }
    let alone = latencies(&quick, &of_quick, &quick_endpoint, "A", 50).await;

    let flood = {
        let greedy = Arc::clone(&greedy);
        tokio::spawn(async move {
            stream::iter(0..1_500)
                .for_each_concurrent(16, |number| {
                    let phone = targets[number % targets.len()].clone();
                    let greedy = Arc::clone(&greedy);
                    async move {
                        greedy.publish(&phone, &format!("S{number}")).await;
                    }
                })
                .await;
        })
    };
    slow_endpoint.wait_for(64).await;
    let beside = latencies(&quick, &of_quick, &quick_endpoint, "B", 150).await;
    flood.await.expect("the flood is published");
    app.leaves_work("the slow endpoint has a backlog of a minute");
    for (name, measured) in [("alone", &alone), ("beside", &beside)] {
        println!(
            "{name}: p50 {:?}, p99 {:?}, max {:?}",
            percentile(measured, 50),
            percentile(measured, 99),
            measured.last().expect("some")
        );
    }
    println!("slow requests begun: {}", slow_endpoint.received().len());
    let worst = percentile(&beside, 99);
    assert!(worst < SLOW / 6, "{worst:?} beside answers of {SLOW:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_messages_are_taken_up_within_the_memory_that_is_set() {
    const MESSAGES: usize = 300;
    const BYTES: usize = 250_000;
    // More bytes than may come in one burst.
    let settings = [("QUOTA__MESSAGES_PER_SECOND", "100000")];
    let app = App::playing("api,record", &settings).await;
    app.leaves_work("what waits at slow endpoints in the end is not waited for");
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::Slow(Duration::from_secs(1))]).await;
    let phone = phones(1, 0).next().expect("there are many");
    register(&client, &phone, &receiver.url("/"), 256).await;
    let content = "x".repeat(BYTES);
    for number in 0..MESSAGES {
        let body = json!({
            "phone_number": phone,
            "message_id": format!("L{number}"),
            "from": "4915100000001",
            "type": "text",
            "content": content,
        });
        let (status, answer) = client.call("POST", "/api/messages", Some(body)).await;
        assert_eq!(status, 202, "{answer}");
    }
    let settings = [
        ("DELIVER__MEMORY_MAX", "32MiB"),
        ("DELIVER__TIMEOUT", "10s"),
    ];
    let (mut node, _) = app.second_logging("deliver", &settings, Stdio::null());
    node.ready().await;
    node.forget_peak();
    let before = node.rss_bytes();
    eventually("all came", async || {
        (receiver.received().len() >= MESSAGES).then_some(())
    })
    .await;
    app.settled().await;
    let growth = node.peak_rss_bytes().saturating_sub(before) >> 20;
    println!("{MESSAGES} messages of {BYTES} bytes: {growth} MiB more at the peak");
    assert!(growth < 110, "{growth} MiB");
}
