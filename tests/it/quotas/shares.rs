//! Streams that all clients fill stay open for others, whatever the quotas of one allow.

use std::{collections::BTreeSet, time::Duration};

use serde_json::{Value, json};

use super::{OTHER_PHONE, PHONE, publish_large};
use crate::support::{
    app::{App, Client, eventually, let_pass},
    process::Node,
    receiver::{Receiver, Reply},
};

const MIB: u64 = 1024 * 1024;
/// A quota beyond what the streams take, so that it protects nobody.
const NO_QUOTA: (&str, &str) = ("QUOTA__WAITING_BYTES_MAX", "1TiB");
/// The same for what it publishes.
const NO_RATE: (&str, &str) = ("QUOTA__MESSAGES_PER_SECOND", "100000");
const THIRD_PHONE: &str = "4915187654322";
/// Longer than a node takes to notice that streams are full.
const LONGER_THAN_A_LOOK: Duration = Duration::from_secs(5);
/// So that the node has parked the ones before.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(50);
const REFUSALS: usize = 20;
const MESSAGES_MAX: usize = 200;
/// Three times what one client may have parked or queued.
const FLOOD: usize = 60;
const WEEK: &str = "retries that are due in a week";

/// Publishes large messages until they are refused for good; the refusal.
async fn fill(client: &Client) -> Value {
    let mut refusals = 0;
    for number in 0..MESSAGES_MAX {
        let (status, answer) = publish_large(client, number).await;
        assert!([202, 429].contains(&status), "{status}: {answer}");
        if status == 429 {
            assert_eq!(answer["code"], "quota", "{answer}");
            refusals += 1;
        }
        if refusals == REFUSALS {
            return answer;
        }
        let_pass(PUBLISH_INTERVAL).await;
    }
    panic!("{MESSAGES_MAX} large messages were tried, and {refusals} refused");
}

/// Publishes more than there is room for retries. What finds none is held in the end, or refused
/// at the door.
async fn flood(app: &App, client: &Client) {
    let mut refused = 0;
    for number in 0..FLOOD {
        let (status, answer) = publish_large(client, number).await;
        assert!([202, 429].contains(&status), "{status}: {answer}");
        refused += u64::from(status == 429);
        let_pass(PUBLISH_INTERVAL).await;
    }
    eventually("the rest is held back", async || {
        let is_over = app.nats.messages("WA_MSG").await == 0;
        (is_over && refused + app.nats.messages("WA_HOLD").await > 10).then_some(())
    })
    .await;
}

/// The first deliveries of client 2 arrive, and its retries.
async fn others_go_on(app: &App) {
    let healthy = Receiver::answering(&[200]).await;
    let flaky = Receiver::answering(&[500, 500, 200]).await;
    let victim = app.client(2).await;
    victim.register(OTHER_PHONE, &healthy.url("/")).await;
    victim.register(THIRD_PHONE, &flaky.url("/")).await;
    for number in 0..5 {
        victim.publish(OTHER_PHONE, &format!("V{number}")).await;
        let_pass(Duration::from_millis(500)).await;
    }
    victim.publish(THIRD_PHONE, "W").await;
    healthy.wait_for(5).await;
    assert_eq!(flaky.wait_for(3).await.len(), 3);
}

fn dead(endpoint: &Receiver, ordering: &str) -> Value {
    json!({
        "phone_number": PHONE, "webhook_url": endpoint.url("/"), "retry_schedule": [604_800],
        "ordering": ordering,
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_cannot_fill_the_room_for_retries() {
    let app = App::with(&[NO_QUOTA, NO_RATE, ("DELIVER__RETRY_BYTES_MAX", "8MiB")]).await;
    let attacker = app.client(1).await;
    let endpoint = Receiver::answering(&[500]).await;
    attacker.register_with(dead(&endpoint, "none")).await;
    flood(&app, &attacker).await;
    let_pass(LONGER_THAN_A_LOOK).await;
    let stored = app.nats.bytes("WA_RETRY").await;
    assert!((4 * MIB..7 * MIB + MIB / 2).contains(&stored), "{stored}");
    others_go_on(&app).await;
    app.leaves_work(WEEK);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_cannot_fill_the_chat_queues() {
    let app = App::with(&[NO_QUOTA, NO_RATE, ("BUS__MESSAGE_BYTES_MAX", "8MiB")]).await;
    let attacker = app.client(1).await;
    let endpoint = Receiver::answering(&[500]).await;
    attacker.register_with(dead(&endpoint, "chat")).await;
    flood(&app, &attacker).await;
    let_pass(LONGER_THAN_A_LOOK).await;
    let stored = app.nats.bytes("WA_CHAT").await;
    assert!((MIB..6 * MIB).contains(&stored), "{stored}");
    others_go_on(&app).await;
    app.leaves_work(WEEK);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_cannot_fill_what_is_held_or_new() {
    // Nobody delivers.
    let app = App::playing(
        "api",
        &[NO_QUOTA, NO_RATE, ("BUS__MESSAGE_BYTES_MAX", "8MiB")],
    )
    .await;
    let attacker = app.client(1).await;
    let endpoint = Receiver::answering(&[500]).await;
    attacker.register_with(dead(&endpoint, "none")).await;
    let refused = fill(&attacker).await;
    let detail = refused["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("bus.message_bytes_max"), "{refused}");
    let victim = app.client(2).await;
    victim.register(OTHER_PHONE, &endpoint.url("/")).await;
    for number in 0..5 {
        victim.publish(OTHER_PHONE, &format!("V{number}")).await;
    }
    app.leaves_work("nobody delivers");

    let app = App::with(&[NO_QUOTA, NO_RATE, ("BUS__HOLD_BYTES_MAX", "8MiB")]).await;
    let attacker = app.client(1).await;
    let paused = json!({
        "phone_number": PHONE, "webhook_url": "http://127.0.0.1:1/", "is_active": false,
    });
    attacker.register_with(paused).await;
    let refused = fill(&attacker).await;
    let detail = refused["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("bus.hold_bytes_max"), "{refused}");
    assert!(app.nats.bytes("WA_HOLD").await < 7 * MIB);
    others_go_on(&app).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_finds_no_room_for_its_retries_is_held_and_delivered_in_the_end() {
    const COUNT: usize = 40;
    let settings = [
        NO_QUOTA,
        NO_RATE,
        ("DELIVER__RETRY_BYTES_MAX", "4MiB"),
        ("DELIVER__BREAKER_OPEN", "1s"),
    ];
    // What was accepted while nobody delivered needs more room than the client's share.
    let app = App::playing("api,record", &settings).await;
    let attacker = app.client(1).await;
    let endpoint = Receiver::answering(&[500]).await;
    let waits: Vec<u32> = std::iter::repeat_n(2, 20).collect();
    let body = json!({
        "phone_number": PHONE, "webhook_url": endpoint.url("/"), "retry_schedule": waits,
    });
    attacker.register_with(body).await;
    for number in 0..COUNT {
        assert_eq!(publish_large(&attacker, number).await.0, 202);
    }
    let mut node: Node = app.second("deliver");
    node.ready().await;
    eventually("some are held back", async || {
        (app.nats.messages("WA_HOLD").await > 10).then_some(())
    })
    .await;
    others_go_on(&app).await;
    let stored = app.nats.bytes("WA_RETRY").await;
    assert!(stored < 4 * MIB, "{stored}");

    let before = endpoint.received().len();
    endpoint.reply(Reply::status(200));
    eventually("all came", async || {
        let ids: BTreeSet<String> = endpoint.ids().split_off(before).into_iter().collect();
        (ids.len() == COUNT).then_some(())
    })
    .await;
    eventually("nothing is held", async || {
        (app.nats.messages("WA_HOLD").await == 0).then_some(())
    })
    .await;
    app.settled().await;
    eventually("nothing counts for its quota", async || {
        let usage = attacker.get("/api/usage").await;
        (usage["waiting_bytes"]["used"] == 0).then_some(())
    })
    .await;
    assert_eq!(node.terminate().await, Some(0));
}
