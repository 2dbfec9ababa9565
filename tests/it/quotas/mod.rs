//! What one client may store and publish, while another goes on.

mod clients;
mod shares;
mod webhooks;

use std::{collections::BTreeSet, time::Duration};

use async_nats::HeaderMap;
use futures_util::{StreamExt, stream::FuturesUnordered};
use serde_json::{Value, json};

use crate::support::{
    app::{App, Client, eventually, http_client, let_pass},
    receiver::{Receiver, Reply},
};

const PHONE: &str = "4915112345678";
const OTHER_PHONE: &str = "4915187654321";
const KIB: usize = 1024;

/// Room for five large messages.
const LITTLE: (&str, &str) = ("QUOTA__WAITING_BYTES_MAX", "1MiB");

/// So often, and so far apart, a message is refused that is over the quota for good.
const REFUSALS: usize = 12;
const REFUSAL_INTERVAL: Duration = Duration::from_millis(500);

/// Publishes one message of 200 KiB; status and answer.
async fn publish_large(client: &Client, number: usize) -> (u16, Value) {
    let body = json!({
        "phone_number": PHONE, "message_id": format!("L{number}"), "from": "4915100000001",
        "type": "text", "content": "x".repeat(200 * KIB),
    });
    client.call("POST", "/api/messages", Some(body)).await
}

/// Publishes large messages until the quota is used up; how many were taken.
async fn fill(client: &Client) -> usize {
    for number in 0..40 {
        if !is_taken(client, number).await {
            return number;
        }
    }
    panic!("40 large messages were taken");
}

/// Whether a large message is taken. While an earlier one moves from stream to stream it counts
/// twice, so a refusal is believed only when it stays.
async fn is_taken(client: &Client, number: usize) -> bool {
    for _ in 0..REFUSALS {
        let (status, answer) = publish_large(client, number).await;
        if status == 202 {
            return true;
        }
        assert_eq!(
            (status, &answer["code"]),
            (429, &json!("quota")),
            "{answer}"
        );
        let detail = answer["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("quota.waiting_bytes_max"), "{answer}");
        let_pass(REFUSAL_INTERVAL).await;
    }
    false
}

async fn waiting_bytes(client: &Client) -> u64 {
    let usage = client.get("/api/usage").await;
    usage["waiting_bytes"]["used"].as_u64().expect("a number")
}

/// Another client gets its messages.
async fn other_goes_on(app: &App) {
    let endpoint = Receiver::answering(&[200]).await;
    let other = app.client(2).await;
    other.register(OTHER_PHONE, &endpoint.url("/")).await;
    for number in 0..10 {
        other.publish(OTHER_PHONE, &format!("M{number}")).await;
    }
    endpoint.wait_for(10).await;
    eventually("nothing of the other client waits", async || {
        (waiting_bytes(&other).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn paused_webhook_fills_the_quota_of_its_client_alone() {
    let app = App::with(&[LITTLE]).await;
    let client = app.client(1).await;
    let endpoint = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &endpoint.url("/")).await;
    let path = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    let active = |is_active: bool| Some(json!({"is_active": is_active}));
    assert_eq!(client.call("PATCH", &path, active(false)).await.0, 200);
    let taken = fill(&client).await;
    assert!((5..=8).contains(&taken), "{taken}");
    assert!(waiting_bytes(&client).await >= 1024 * 1024);
    let (status, answer) = client.call("POST", &format!("{path}/test"), None).await;
    assert_eq!((status, &answer["code"]), (429, &json!("quota")));
    other_goes_on(&app).await;

    // It goes on when what was held is delivered.
    assert_eq!(client.call("PATCH", &path, active(true)).await.0, 200);
    endpoint.wait_for(taken).await;
    eventually("nothing waits", async || {
        (waiting_bytes(&client).await == 0).then_some(())
    })
    .await;
    assert_eq!(publish_large(&client, 100).await.0, 202);

    // Or when it is dropped with its webhook.
    endpoint.wait_for(taken + 1).await;
    assert_eq!(client.call("PATCH", &path, active(false)).await.0, 200);
    for number in 200..203 {
        assert_eq!(publish_large(&client, number).await.0, 202);
    }
    eventually("they are held", async || {
        (app.nats.messages("WA_HOLD").await == 3).then_some(())
    })
    .await;
    assert_eq!(client.call("DELETE", &path, None).await.0, 204);
    eventually("nothing waits", async || {
        (waiting_bytes(&client).await == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn dead_endpoint_fills_the_quota_of_its_client_alone() {
    let app = App::with(&[LITTLE]).await;
    let client = app.client(1).await;
    let endpoint = Receiver::answering(&[500]).await;
    let body = json!({
        "phone_number": PHONE, "webhook_url": endpoint.url("/"), "retry_schedule": [604_800],
    });
    client.register_with(body).await;
    let taken = fill(&client).await;
    // While a message is parked, it is stored twice.
    assert!((3..=8).contains(&taken), "{taken}");
    eventually("all are parked", async || {
        (app.nats.messages("WA_RETRY").await == taken as u64).then_some(())
    })
    .await;
    assert!(waiting_bytes(&client).await >= (taken * 200 * KIB) as u64);
    other_goes_on(&app).await;
    app.leaves_work("retries that are due in a week");
}

#[tokio::test]
async fn dead_letters_over_their_quota_are_cut() {
    let app = App::with(&[("QUOTA__DEAD_LETTER_BYTES_MAX", "512KiB")]).await;
    let client = app.client(1).await;
    let endpoint = Receiver::start([Reply::status(404)]).await;
    client.register(PHONE, &endpoint.url("/")).await;
    for number in 0..10 {
        assert_eq!(publish_large(&client, number).await.0, 202);
    }
    eventually("all are dead letters", async || {
        (app.nats.messages("WA_DLQ").await == 10).then_some(())
    })
    .await;
    let bytes = app.nats.bytes("WA_DLQ").await;
    // Some are under way at once when the quota is reached.
    assert!(bytes < 9 * 200 * KIB as u64, "{bytes}");
    eventually("the audit has all", async || {
        let letters = client.get("/api/dead-letters").await;
        (letters["data"].as_array().map(Vec::len) == Some(10)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn too_many_messages_a_second_are_refused() {
    let app = App::with(&[("QUOTA__MESSAGES_PER_SECOND", "1")]).await;
    let client = app.client(1).await;
    let endpoint = Receiver::answering(&[200]).await;
    client.register(PHONE, &endpoint.url("/")).await;
    let mut refused = Value::Null;
    for number in 0..4 {
        let (status, answer) = publish_large(&client, number).await;
        if status != 202 {
            refused = answer;
        }
    }
    let detail = refused["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("quota.messages_per_second"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_bodies_take_turns_before_they_are_parsed() {
    let app = App::start().await;
    let client = app.client(1).await;
    // What is no message, as one text that is made once: 8 MiB a second of it are parsed, and no
    // request waits for 8 s.
    let text: bytes::Bytes = format!("\"{}\"", "x".repeat(500 * KIB)).into();
    let http = http_client();
    let asked = (0..200).map(|_| {
        let request = http.post(format!("{}/api/messages", app.api));
        let request = request.header("content-type", "application/json");
        request.bearer_auth(&client.token).body(text.clone()).send()
    });
    let mut asked: FuturesUnordered<_> = asked.collect();
    let mut statuses = BTreeSet::new();
    while statuses.len() < 2
        && let Some(answer) = asked.next().await
    {
        statuses.insert(answer.expect("the API answers").status().as_u16());
    }
    let expected = BTreeSet::from([400, 429]);
    assert_eq!(statuses, expected, "some were parsed, not all");
}

#[tokio::test]
async fn sums_that_were_lost_are_counted_again() {
    let mut app = App::with(&[
        ("QUOTA__RECOUNT_INTERVAL", "1s"),
        // What the killed process had comes again after this.
        ("BUS__ACK_WAIT", "16s"),
        ("DELIVER__TIMEOUT", "1s"),
        ("DELIVER__LANE_WAIT", "500ms"),
    ])
    .await;
    let client = app.client(1).await;
    let endpoint = Receiver::answering(&[200]).await;
    client.register(PHONE, &endpoint.url("/")).await;
    for number in 0..20 {
        client.publish(PHONE, &format!("M{number}")).await;
    }
    app.kill_and_restart().await;
    endpoint.wait_for(20).await;
    // Far beyond what any fault may leave.
    let context = app.nats.jetstream().await;
    for quota in ["waiting", "dead_letters"] {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Incr", "+5000000");
        let subject = format!("wa.usage.{quota}.1");
        let added = context
            .publish_with_headers(subject, headers, "".into())
            .await
            .expect("publishes");
        added.await.expect("adds");
    }
    eventually("the counters say nothing", async || {
        let usage = client.get("/api/usage").await;
        let used = |name: &str| usage[name]["used"] == 0;
        (used("waiting_bytes") && used("dead_letter_bytes")).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_waits_is_counted_from_the_streams() {
    let app = App::with(&[("QUOTA__RECOUNT_INTERVAL", "1s")]).await;
    let client = app.client(1).await;
    let endpoint = Receiver::answering(&[500]).await;
    let body = json!({
        "phone_number": PHONE, "webhook_url": endpoint.url("/"), "retry_schedule": [604_800],
    });
    client.register_with(body).await;
    for number in 0..3 {
        assert_eq!(publish_large(&client, number).await.0, 202);
    }
    eventually("all are parked", async || {
        (app.nats.messages("WA_RETRY").await == 3).then_some(())
    })
    .await;
    let context = app.nats.jetstream().await;
    let usage = context.get_stream("WA_USAGE").await.expect("is there");
    usage.purge().await.expect("empties");
    let stored = app.nats.bytes("WA_RETRY").await;
    let counted = eventually("it is counted again", async || {
        let bytes = waiting_bytes(&client).await;
        (bytes > 500 * KIB as u64).then_some(bytes)
    })
    .await;
    assert!(counted <= stored, "{counted} of {stored}");
    // Counting takes nothing away.
    assert_eq!(app.nats.messages("WA_RETRY").await, 3);
    app.leaves_work("retries that are due in a week");
}
