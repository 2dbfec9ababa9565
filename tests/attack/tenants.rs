//! Attacks of a tenant with ordinary requests.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    endpoint::{Endpoint, Manner},
    lab::{self, Attacker, Lab, hammer},
};

/// What is published at a time by an attack that floods.
const AT_ONCE: usize = 32;
/// Where nobody listens.
const NOBODY: &str = "http://127.0.0.1:1/";
/// As large as the API takes, nearly.
const LARGE_BYTES: usize = 480_000;

/// All that a webhook may ask for.
fn greedy() -> Value {
    json!({"in_flight": 256, "rate_per_second": 10_000, "burst": 10_000})
}

/// Floods this endpoint with texts of so many bytes, for numbers registered with these settings.
async fn flood(name: &'static str, endpoint: &Endpoint, settings: Value, bytes: usize) {
    lab::flood(name, endpoint.url(), settings, AT_ONCE, bytes).await;
}

/// The same where nobody listens.
async fn flood_nobody(name: &'static str, settings: Value, bytes: usize) {
    lab::flood(name, NOBODY.to_owned(), settings, AT_ONCE, bytes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers() {
    let endpoint = Endpoint::answering(Duration::from_millis(9300), "200 OK").await;
    flood("slow answers", &endpoint, greedy(), 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_hang() {
    let endpoint = Endpoint::start(Manner::Hang).await;
    flood("endpoints that hang", &endpoint, greedy(), 100).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_with_large_retries() {
    let mut settings = greedy();
    settings["retry_schedule"] = json!([604_800, 604_800]);
    flood_nobody("a dead endpoint with large retries", settings, LARGE_BYTES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_fill_the_dead_letters() {
    let endpoint = Endpoint::answering(Duration::ZERO, "400 Bad Request").await;
    let name = "refusals that fill the dead letters";
    flood(name, &endpoint, greedy(), LARGE_BYTES).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_webhooks_that_fill_what_is_held() {
    let paused = json!({"is_active": false});
    flood_nobody(
        "paused webhooks that fill what is held",
        paused,
        LARGE_BYTES,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_small_messages() {
    let endpoint = Endpoint::answering(Duration::ZERO, "200 OK").await;
    flood("a flood of small messages", &endpoint, greedy(), 10).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_failures() {
    let endpoint = Endpoint::answering(Duration::ZERO, "503 Service Unavailable").await;
    let mut settings = greedy();
    settings["retry_schedule"] = json!(vec![1; 20]);
    flood("a flood of failures", &endpoint, settings, 1_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_tests_and_retries_by_hand() {
    let lab = Lab::start(&[]).await;
    let endpoint = Endpoint::answering(Duration::ZERO, "400 Bad Request").await;
    let url = endpoint.url();
    let attack = async move |attacker: Arc<Attacker>| {
        let webhooks = Arc::new(attacker.register_all(&url, &greedy()).await);
        hammer(AT_ONCE, |number| {
            let attacker = Arc::clone(&attacker);
            let webhook = webhooks[number % webhooks.len()].clone();
            async move {
                let path = format!("/api/webhooks/{webhook}/test");
                let (_, text) = attacker.call("POST", &path, None).await;
                let answer: Value = serde_json::from_str(&text).unwrap_or_default();
                let Some(event) = answer["event_id"].as_str() else {
                    return;
                };
                let path = format!("/api/webhooks/events/{event}/retry");
                attacker.call("POST", &path, None).await;
            }
        })
        .await;
    };
    lab.attack("a flood of tests and retries by hand", attack)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_replays() {
    let lab = Lab::start(&[]).await;
    let endpoint = Endpoint::answering(Duration::ZERO, "400 Bad Request").await;
    let url = endpoint.url();
    let attack = async move |attacker: Arc<Attacker>| {
        attacker.register_all(&url, &greedy()).await;
        for number in 0..200 {
            attacker.publish(number, 1_000).await;
        }
        hammer(AT_ONCE, |_| {
            let attacker = Arc::clone(&attacker);
            async move {
                let body = json!({"status": "failed", "since": "2020-01-01T00:00:00Z"});
                attacker.call("POST", "/api/replays", Some(&body)).await;
                attacker.call("GET", "/api/replays", None).await;
            }
        })
        .await;
    };
    lab.attack("a flood of replays", attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_webhooks() {
    let lab = Lab::start(&[("API__REGISTRATIONS_PER_MINUTE", "100000")]).await;
    let attack = async move |attacker: Arc<Attacker>| {
        hammer(AT_ONCE, |number| {
            let attacker = Arc::clone(&attacker);
            async move {
                let body = json!({
                    "phone_number": format!("4918{number:08}"),
                    "webhook_url": NOBODY,
                    "metadata": {"notes": "z".repeat(15_000)},
                });
                attacker
                    .call("POST", "/api/webhooks/register", Some(&body))
                    .await;
                if number % 50 == 49 {
                    attacker.call("GET", "/api/webhooks/list", None).await;
                }
            }
        })
        .await;
    };
    lab.attack("many webhooks", attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_grow() {
    let lab = Lab::start(&[]).await;
    let attack = async move |attacker: Arc<Attacker>| {
        let cloud = json!({"format": "cloud"});
        attacker.register_all(NOBODY, &cloud).await;
        hammer(4, |number| {
            let attacker = Arc::clone(&attacker);
            async move {
                let body = json!({
                    "phone_number": attacker.phones[number % attacker.phones.len()],
                    "message_id": format!("G{number}"), "from": "4915100000009",
                    "type": "contact", "metadata": {"contacts": vec![0; 240_000]},
                });
                attacker.call("POST", "/api/messages", Some(&body)).await;
            }
        })
        .await;
    };
    lab.attack("bodies that grow", attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_and_statistics_of_large_events() {
    let lab = Lab::start(&[]).await;
    let endpoint = Endpoint::answering(Duration::ZERO, "204 No Content").await;
    let url = endpoint.url();
    let attack = async move |attacker: Arc<Attacker>| {
        let phone = attacker.phones[0].clone();
        let id = Arc::new(attacker.register(&phone, &url, &greedy()).await);
        let end = Instant::now() + lab::attack_duration() / 2;
        let mut number = 0;
        while Instant::now() < end {
            attacker
                .publish(number * attacker.phones.len(), LARGE_BYTES)
                .await;
            number += 1;
        }
        hammer(AT_ONCE, |number| {
            let attacker = Arc::clone(&attacker);
            let id = Arc::clone(&id);
            async move {
                let list = format!("/api/webhooks/{id}/events?limit=250&include=payload");
                let stats = format!("/api/webhooks/{id}/stats");
                let path = if number % 2 == 0 { list } else { stats };
                // Asked, and hardly read.
                let request = attacker.http.get(format!("{}{path}", attacker.api));
                let answer = request.bearer_auth(&attacker.token).send().await;
                attacker
                    .answers
                    .note(answer.as_ref().map_or(0, |answer| answer.status().as_u16()));
                sleep(Duration::from_millis(500)).await;
                drop(answer);
            }
        })
        .await;
    };
    lab.attack("lists and statistics of large events", attack)
        .await;
}
