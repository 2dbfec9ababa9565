//! Dead letters, and the jobs that send many deliveries again.

mod abandoned;
mod held;
mod jobs;
mod letters;
mod lost;
mod requests;

use std::{collections::HashMap, time::SystemTime};

use serde_json::Value;
use wahook::{
    bus::Bus,
    model::{
        Attempt, ClientId, Delivery, EventId, EventStatus, Kind, Outcome, Priority, Timestamp,
        WebhookId,
    },
};

use crate::support::{
    app::{Client, eventually},
    receiver::Receiver,
};

const PHONE: &str = "4915112345678";

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// An event of this webhook that was given up after two attempts; `age` tells the events apart, and
/// is how many milliseconds before `now` it was published.
fn letter(webhook: &Value, now: Timestamp, age: i64, kind: &Kind) -> Attempt {
    let created_at = Timestamp::from_millis(now.millis() - age);
    let webhook_id = WebhookId(
        webhook["id"]
            .as_str()
            .and_then(|id| id.parse().ok())
            .expect("an id"),
    );
    let message_id = format!("D{age}").parse().expect("valid");
    let body = format!(r#"{{"message_id":"D{age}","type":"{kind}"}}"#).into_bytes();
    Attempt {
        delivery: Delivery {
            event_id: EventId::derive(created_at, webhook_id, "c", "s", &message_id, kind),
            webhook_id,
            client_id: ClientId::try_from(webhook["client_id"].as_u64().expect("an id"))
                .expect("in range"),
            phone: webhook["phone_number"]
                .as_str()
                .and_then(|text| text.parse().ok())
                .expect("a number"),
            message_id,
            kind: kind.clone(),
            created_at,
            body: body.into(),
            attempt_count: 1,
            attempts_this_round: 1,
            priority: Priority::Normal,
            chat_key: None,
        },
        number: 2,
        outcome: Outcome::Http5xx,
        status: EventStatus::Failed,
        http_status: Some(503),
        response: Some("not today".to_owned()),
        error: Some("answered 503".to_owned()),
        started_at: created_at,
        latency_ms: 3,
        next_retry_at: None,
    }
}

/// Puts so many dead letters of this webhook into the audit, on the way that results take.
async fn give_up(bus: &Bus, webhook: &Value, count: i64) -> Vec<Attempt> {
    // One time for all: a pause between two of them must not change their order.
    let now = now();
    let letters: Vec<_> = (1..=count)
        .map(|age| letter(webhook, now, age * 10, &Kind::Text))
        .collect();
    record(bus, &letters).await;
    letters
}

async fn record(bus: &Bus, letters: &[Attempt]) {
    for group in letters.chunks(100) {
        let part = bus.partition_of(group[0].delivery.client_id, &group[0].delivery.phone);
        bus.publish_results(part, group).await.expect("publishes");
    }
}

/// Waits until a dry run counts so many.
async fn counted(client: &Client, count: u64) {
    eventually(&format!("{count} match"), async || {
        let (status, answer) = client
            .call(
                "POST",
                "/api/replays",
                Some(serde_json::json!({"dry_run": true})),
            )
            .await;
        assert_eq!(
            (status, &answer["is_complete"]),
            (200, &Value::Bool(true)),
            "{answer}"
        );
        (answer["matched"] == count).then_some(())
    })
    .await;
}

/// Waits until the job stands so.
async fn job_when(client: &Client, job: &Value, state: &str) -> Value {
    let path = format!("/api/replays/{}", job["id"].as_str().expect("an id"));
    eventually(&format!("the job is {state}"), async || {
        let job = client.get(&path).await;
        (job["state"] == state).then_some(job)
    })
    .await
}

/// How often each message came.
fn times(receiver: &Receiver) -> HashMap<String, usize> {
    let mut times = HashMap::new();
    for one in receiver.received() {
        *times
            .entry(one.json()["message_id"].as_str().expect("an id").to_owned())
            .or_default() += 1;
    }
    times
}
