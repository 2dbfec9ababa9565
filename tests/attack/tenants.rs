//! Attacks of a tenant with ordinary requests.

use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use tokio::time::sleep;

use crate::{
    endpoint::{Endpoint, Manner},
    lab::{Attacker, Lab, deadline, hammer},
};

/// What is published at a time by an attack that floods.
const AT_ONCE: usize = 32;
/// As large as the API takes, nearly.
const LARGE_BYTES: usize = 480_000;

/// All that a webhook may ask for.
fn greedy() -> Value {
    json!({"in_flight": 256, "rate_per_second": 10_000, "burst": 10_000})
}

async fn flood(attacker: Arc<Attacker>, bytes: usize) {
    hammer(AT_ONCE, |number| {
        let attacker = Arc::clone(&attacker);
        async move {
            attacker.publish(number, bytes).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_answers() {
    let lab = Lab::start(&[]).await;
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
    let endpoint = Endpoint::start(Manner::Answer(Duration::from_millis(9300), answer)).await;
    let url = endpoint.url();
    let attack = async move |attacker: Arc<Attacker>| {
        attacker.register_all(&url, &greedy()).await;
        flood(attacker, 100).await;
    };
    lab.attack("slow answers", attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn endpoints_that_hang() {
    let lab = Lab::start(&[]).await;
    let endpoint = Endpoint::start(Manner::Hang).await;
    let url = endpoint.url();
    let attack = async move |attacker: Arc<Attacker>| {
        attacker.register_all(&url, &greedy()).await;
        flood(attacker, 100).await;
    };
    lab.attack("endpoints that hang", attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_endpoint_with_large_retries() {
    let lab = Lab::start(&[]).await;
    let attack = async move |attacker: Arc<Attacker>| {
        let mut settings = greedy();
        settings["retry_schedule"] = json!([604_800, 604_800]);
        attacker
            .register_all("http://127.0.0.1:1/", &settings)
            .await;
        flood(attacker, LARGE_BYTES).await;
    };
    lab.attack("a dead endpoint with large retries", attack)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_that_fill_the_dead_letters() {
    let lab = Lab::start(&[]).await;
    let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let endpoint = Endpoint::start(Manner::Answer(Duration::ZERO, answer)).await;
    let url = endpoint.url();
    let attack = async move |attacker: Arc<Attacker>| {
        attacker.register_all(&url, &greedy()).await;
        flood(attacker, LARGE_BYTES).await;
    };
    lab.attack("refusals that fill the dead letters", attack)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn paused_webhooks_that_fill_what_is_held() {
    let lab = Lab::start(&[]).await;
    let attack = async move |attacker: Arc<Attacker>| {
        let paused = json!({"is_active": false});
        attacker.register_all("http://127.0.0.1:1/", &paused).await;
        flood(attacker, LARGE_BYTES).await;
    };
    lab.attack("paused webhooks that fill what is held", attack)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_small_messages() {
    let lab = Lab::start(&[]).await;
    let answer = "HTTP/1.1 204 No Content\r\n\r\n";
    let endpoint = Endpoint::start(Manner::Answer(Duration::ZERO, answer)).await;
    let url = endpoint.url();
    let attack = async move |attacker: Arc<Attacker>| {
        attacker.register_all(&url, &greedy()).await;
        flood(attacker, 10).await;
    };
    lab.attack("a flood of small messages", attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_failures() {
    let lab = Lab::start(&[]).await;
    let answer = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
    let endpoint = Endpoint::start(Manner::Answer(Duration::ZERO, answer)).await;
    let url = endpoint.url();
    let attack = async move |attacker: Arc<Attacker>| {
        let mut settings = greedy();
        settings["retry_schedule"] = json!(vec![1; 20]);
        attacker.register_all(&url, &settings).await;
        flood(attacker, 1_000).await;
    };
    lab.attack("a flood of failures", attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_tests_and_retries_by_hand() {
    let lab = Lab::start(&[]).await;
    let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let endpoint = Endpoint::start(Manner::Answer(Duration::ZERO, answer)).await;
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
    let answer = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
    let endpoint = Endpoint::start(Manner::Answer(Duration::ZERO, answer)).await;
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
                    "webhook_url": "http://127.0.0.1:1/",
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
        attacker.register_all("http://127.0.0.1:1/", &cloud).await;
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
    let answer = "HTTP/1.1 204 No Content\r\n\r\n";
    let endpoint = Endpoint::start(Manner::Answer(Duration::ZERO, answer)).await;
    let url = endpoint.url();
    let attack = async move |attacker: Arc<Attacker>| {
        let phone = attacker.phones[0].clone();
        let id = Arc::new(attacker.register(&phone, &url, &greedy()).await);
        let end = deadline() - crate::lab::attack_duration() / 2;
        let mut number = 0;
        while std::time::Instant::now() < end {
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
