use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use wahook::{
    bus::Work,
    model::{Attempt, Priority},
    wire::decode_delivery,
};

use super::{PHONE, counted, give_up, job_when, times};
use crate::support::{
    app::{App, Client, WAIT_MAX, eventually},
    receiver::{Receiver, Reply},
};

pub(super) async fn replay(client: &Client, body: Value) -> Value {
    let (status, job) = client.call("POST", "/api/replays", Some(body)).await;
    assert_eq!(status, 202, "{job}");
    job
}

pub(super) async fn webhook(client: &Client, receiver: &Receiver) -> Value {
    client
        .register_with(json!({
            "phone_number": PHONE, "webhook_url": receiver.url("/"), "rate_per_second": 2000,
            "in_flight": 64,
        }))
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_sends_all_that_match_once_with_the_same_bytes_and_numbers_that_go_on() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = webhook(&client, &receiver).await;
    let letters = give_up(&app.nats.bus().await, &webhook, 150).await;
    counted(&client, 150).await;

    let since = letters[99].delivery.created_at.to_string();
    let path = format!(
        "/api/webhooks/{}/replay",
        webhook["id"].as_str().expect("an id")
    );
    let (status, dry) = client
        .call(
            "POST",
            &path,
            Some(json!({"since": since, "type": "text", "dry_run": true})),
        )
        .await;
    assert_eq!(
        (status, dry),
        (
            200,
            json!({"dry_run": true, "matched": 100, "is_complete": true})
        )
    );
    let (status, job) = client
        .call(
            "POST",
            &path,
            Some(json!({"since": since, "type": "text", "rate_per_second": 200})),
        )
        .await;
    assert_eq!(status, 202, "{job}");
    let job = job_when(&client, &job, "done").await;
    assert_eq!(
        (&job["matched"], &job["sent"], &job["skipped"]),
        (&json!(100), &json!(100), &json!(0))
    );
    assert!(
        job["started_at"].is_string() && job["ended_at"].is_string() && job["error"].is_null(),
        "{job}"
    );

    have_come(&receiver, &letters[..100]).await;
    let event = client.event_when(&webhook, "D10", "delivered").await;
    assert_eq!(
        event["attempts"].as_array().map(Vec::len),
        Some(2),
        "the one before and the new one"
    );
    assert_eq!(event["attempts"][1]["number"], 3);
    // What was delivered matches no more; the older fifty still do.
    counted(&client, 50).await;
    assert_eq!(times(&receiver).len(), 100);
    assert!(times(&receiver).values().all(|times| *times == 1));
    let line = "wahook_job_events_total{job=\"replay\",what=\"sent\"}";
    assert_eq!(app.metric(line).await, Some(100.0));
}

/// These and no others have come, with the same bytes and ids.
async fn have_come(receiver: &Receiver, letters: &[Attempt]) {
    let received = receiver.wait_for(letters.len()).await;
    for letter in letters {
        let one = received
            .iter()
            .find(|one| one.body == letter.delivery.body[..])
            .expect("came");
        assert_eq!(
            one.header("webhook-id"),
            letter.delivery.event_id.header().to_string()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replayed_delivery_has_low_priority_and_starts_a_new_round() {
    let app = App::playing("api,record", &[]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = webhook(&client, &receiver).await;
    let bus = app.nats.bus().await;
    let letters = give_up(&bus, &webhook, 2).await;
    counted(&client, 2).await;
    replay(&client, json!({})).await;
    let delivery = &letters[0].delivery;
    let part = bus.partition_of(delivery.client_id, &delivery.phone);
    let mut pull = bus.pull(Work::Retry, part, CancellationToken::new());
    // The newest first.
    for letter in &letters {
        let incoming = timeout(WAIT_MAX, pull.next())
            .await
            .expect("in time")
            .expect("a delivery");
        let again = decode_delivery(incoming.payload()).expect("readable");
        assert_eq!(again, letter.delivery.for_new_round(2, Priority::Low));
        incoming.ack().await.expect("acknowledges");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_stays_close_to_what_was_attempted() {
    // No deliver yet: nothing is attempted.
    let app = App::playing("api,record", &[]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = webhook(&client, &receiver).await;
    give_up(&app.nats.bus().await, &webhook, 200).await;
    counted(&client, 200).await;
    let job = replay(&client, json!({"rate_per_second": 50})).await;
    let path = format!("/api/replays/{}", job["id"].as_str().expect("an id"));
    let waiting = eventually("it says what it waits for", async || {
        Some(client.get(&path).await).filter(|job| {
            job["error"]
                .as_str()
                .is_some_and(|why| why.contains("keep up"))
        })
    })
    .await;
    // A first page of ten, then three of a second's work each.
    assert_eq!(
        (&waiting["state"], &waiting["sent"]),
        (&json!("running"), &json!(160))
    );
    assert_eq!(app.nats.messages("WA_RETRY").await, 160);
    let _deliver = app.second("deliver");
    let job = job_when(&client, &job, "done").await;
    assert_eq!((&job["sent"], &job["error"]), (&json!(200), &Value::Null));
    receiver.wait_for(200).await;
    // Before the node that delivers is killed.
    app.settled().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_goes_on_after_its_node_was_killed() {
    // A short ack wait, so that what the killed process held comes again soon.
    let settings = [
        ("BUS__ACK_WAIT", "16s"),
        ("DELIVER__TIMEOUT", "1s"),
        ("DELIVER__LANE_WAIT", "500ms"),
    ];
    let mut app = App::with(&settings).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = webhook(&client, &receiver).await;
    give_up(&app.nats.bus().await, &webhook, 300).await;
    // That connection declared the streams with defaults.
    app.command(&["bus", "apply"]).await;
    counted(&client, 300).await;
    let job = replay(&client, json!({"rate_per_second": 60})).await;
    receiver.wait_for(80).await;
    app.kill().await;
    let before = times(&receiver).len();
    assert!(before < 250, "{before} had come already");
    app.restart().await;
    let path = format!("/api/replays/{}", job["id"].as_str().expect("an id"));
    let left = client.get(&path).await;
    assert!(
        left["sent"].as_u64().expect("a number") < 250 && left["state"] == "running",
        "{left}"
    );
    let job = job_when(&client, &job, "done").await;
    assert_eq!(job["matched"], 300);
    // What the last page had published but not written down was delivered meanwhile: it matched no
    // more.
    let sent = job["sent"].as_u64().expect("a number");
    assert!((240..=300).contains(&sent), "{job}");
    eventually("all came", async || {
        (times(&receiver).len() == 300).then_some(())
    })
    .await;
    // The job itself doubled nothing. What was under way when the node died comes again, as after
    // any kill.
    let extra: usize = times(&receiver).values().map(|times| times - 1).sum();
    assert!(extra <= 64, "{extra} came twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_node_hands_its_replay_over_at_once_and_doubles_nothing() {
    let mut app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = webhook(&client, &receiver).await;
    give_up(&app.nats.bus().await, &webhook, 200).await;
    counted(&client, 200).await;
    let job = replay(&client, json!({"rate_per_second": 80})).await;
    receiver.wait_for(40).await;
    assert_eq!(app.terminate().await, Some(0));
    assert!(times(&receiver).len() < 190);
    app.restart().await;
    job_when(&client, &job, "done").await;
    eventually("all came", async || {
        (times(&receiver).len() == 200).then_some(())
    })
    .await;
    assert_eq!(receiver.received().len(), 200, "each once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_for_an_endpoint_that_fails_ends_and_its_events_are_dead_letters_again() {
    let app = App::with(&[("DELIVER__MAX_RETRIES", "0")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::start([Reply::status(400)]).await;
    let webhook = webhook(&client, &receiver).await;
    give_up(&app.nats.bus().await, &webhook, 20).await;
    counted(&client, 20).await;
    let job = replay(&client, json!({"rate_per_second": 100})).await;
    job_when(&client, &job, "done").await;
    receiver.wait_for(20).await;
    let event = client.event_when(&webhook, "D10", "failed").await;
    eventually("all were tried again", async || {
        let letters = client.get("/api/dead-letters").await;
        let letters = letters["data"].as_array().expect("a list").clone();
        (letters.len() == 20 && letters.iter().all(|letter| letter["attempt_count"] == 3))
            .then_some(())
    })
    .await;
    assert_eq!(event["status"], "failed");
    assert_eq!(receiver.received().len(), 20, "no event was taken twice");
}
