//! An endpoint is well again, or asks for a pause: what waited comes at its rate, and not before.

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::time::interval;

use crate::support::{
    app::{App, eventually},
    receiver::{Receiver, Reply},
};

const PHONE: &str = "4915112345678";

/// The messages that came, each counted once.
fn arrived_since(receiver: &Receiver, start: Instant) -> usize {
    let mut ids: Vec<_> = receiver
        .received()
        .iter()
        .filter(|one| one.at >= start)
        .map(|one| one.header("webhook-id").to_owned())
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_hang_the_backlog_comes_at_the_webhooks_rate() {
    const MESSAGES: usize = 400;
    let settings = [
        ("DELIVER__TIMEOUT", "4s"),
        ("DELIVER__BREAKER_OPEN", "3s"),
        ("DELIVER__LANE_WAIT", "500ms"),
    ];
    let app = App::with(&settings).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::Hang]).await;
    let retries = [1; 20];
    let body = json!({
        "phone_number": PHONE,
        "webhook_url": receiver.url("/"),
        "retry_schedule": retries,
    });
    client.register_with(body).await;
    // For 40 seconds: at the pace of the time-outs that would be 200 s of backlog.
    let mut pace = interval(Duration::from_millis(100));
    for number in 0..MESSAGES {
        pace.tick().await;
        client.publish(PHONE, &format!("M{number}")).await;
    }
    let well_since = Instant::now();
    receiver.reply(Reply::status(200));
    eventually("the backlog came", async || {
        (arrived_since(&receiver, well_since) == MESSAGES).then_some(())
    })
    .await;
    let took = well_since.elapsed();
    // 8 s at 50/s, the rest of the breaker's time, and a last hanging probe before.
    println!("{MESSAGES} messages came within {took:?} after the hang");
}

#[tokio::test(flavor = "multi_thread")]
async fn retry_after_slows_the_endpoint_and_not_just_one_message() {
    const MESSAGES: usize = 300;
    let pause = Duration::from_secs(5);
    for status in [429, 503] {
        let app = App::start().await;
        let client = app.client(1).await;
        let slow_down = Reply::Status(status, vec![("retry-after", "5".to_owned())]);
        let receiver = Receiver::start([slow_down]).await;
        let webhook = client.register(PHONE, &receiver.url("/")).await;
        client.publish(PHONE, "M0").await;
        let first = receiver.wait_for(1).await.remove(0).at;
        for number in 1..MESSAGES {
            client.publish(PHONE, &format!("M{number}")).await;
        }
        let second = receiver.wait_for(2).await.remove(1).at - first;
        assert!(
            second >= pause - Duration::from_millis(100),
            "{status}: the next request came after {second:?}"
        );
        receiver.reply(Reply::status(200));
        eventually("all came", async || {
            (arrived_since(&receiver, first) == MESSAGES).then_some(())
        })
        .await;
        let event = client.event_when(&webhook, "M200", "delivered").await;
        let attempts = event["attempt_count"].as_u64().expect("a number");
        assert!(attempts <= 2, "waiting is no attempt: {attempts}");
    }
}
