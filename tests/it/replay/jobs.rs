use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wahook::{
    bus::Work,
    model::{ClientId, EventStatus, Job, JobFilter, JobId, JobState, JobWork, Priority, Timestamp},
    replay::{ACTIVE_MAX, KEPT_MAX},
    wire::decode_delivery,
};

use super::{PHONE, counted, give_up, job_when, times};
use crate::support::{
    app::{App, Client, PATIENCE, eventually, http_client},
    receiver::{Receiver, Reply},
};

async fn replay(client: &Client, body: Value) -> Value {
    let (status, job) = client.call("POST", "/api/replays", Some(body)).await;
    assert_eq!(status, 202, "{job}");
    job
}

async fn webhook(client: &Client, receiver: &Receiver) -> Value {
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

    let received = receiver.wait_for(100).await;
    for letter in &letters[..100] {
        let one = received
            .iter()
            .find(|one| one.body == letter.delivery.body[..])
            .expect("came");
        assert_eq!(
            one.header("webhook-id"),
            letter.delivery.event_id.to_string()
        );
    }
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
    let text = http_client()
        .get(format!("{}/metrics", app.admin))
        .send()
        .await
        .expect("answers")
        .text()
        .await;
    let text = text.expect("text");
    assert!(
        text.contains("wahook_job_events_total{job=\"replay\",what=\"sent\"} 100"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replay_publishes_has_low_priority_and_starts_a_new_round() {
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
        let incoming = timeout(PATIENCE, pull.next())
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
async fn a_replay_can_be_cancelled_and_others_can_neither_see_nor_end_it() {
    let app = App::start().await;
    let client = app.client(1).await;
    let stranger = app.client(2).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = webhook(&client, &receiver).await;
    give_up(&app.nats.bus().await, &webhook, 400).await;
    counted(&client, 400).await;
    let job = replay(&client, json!({"rate_per_second": 20})).await;
    let path = format!("/api/replays/{}", job["id"].as_str().expect("an id"));
    receiver.wait_for(5).await;

    assert_eq!(stranger.get("/api/replays").await["data"], json!([]));
    assert_eq!(stranger.call("GET", &path, None).await.0, 404);
    assert_eq!(
        stranger
            .call("POST", &format!("{path}/cancel"), None)
            .await
            .0,
        404
    );
    let (_, foreign) = stranger
        .call("POST", "/api/replays", Some(json!({"dry_run": true})))
        .await;
    assert_eq!(foreign["matched"], 0);
    let (status, _) = stranger
        .call(
            "POST",
            "/api/replays",
            Some(json!({"webhook_id": webhook["id"], "dry_run": true})),
        )
        .await;
    assert_eq!(status, 404);

    // A second one waits for the first, and can be cancelled before it begins.
    let second = replay(&client, json!({"rate_per_second": 20})).await;
    assert_eq!(
        client.get("/api/replays").await["data"][0]["id"],
        second["id"],
        "the newest first"
    );
    let cancel_second = format!(
        "/api/replays/{}/cancel",
        second["id"].as_str().expect("an id")
    );
    let (status, cancelled) = client.call("POST", &cancel_second, None).await;
    assert_eq!(
        (status, &cancelled["state"], &cancelled["sent"]),
        (200, &json!("cancelled"), &json!(0))
    );

    assert_eq!(
        client.call("POST", &format!("{path}/cancel"), None).await.0,
        200
    );
    let job = job_when(&client, &job, "cancelled").await;
    let sent = usize::try_from(job["sent"].as_u64().expect("a number")).expect("small");
    assert!((5..300).contains(&sent), "{job}");
    eventually("what was sent came", async || {
        (times(&receiver).len() == sent).then_some(())
    })
    .await;
    let (status, again) = client.call("POST", &format!("{path}/cancel"), None).await;
    assert_eq!((status, again), (200, job), "it is over: nothing changes");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_wrongly_is_named_and_a_key_makes_one_job() {
    // No deliver: the jobs stay on the bus.
    let app = App::playing("api,record", &[]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = webhook(&client, &receiver).await;
    let table = [
        (json!({"status": "pending"}), "/status"),
        (json!({"type": "txet"}), "/type"),
        (json!({"since": "yesterday"}), "/since"),
        (
            json!({"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}),
            "/since",
        ),
        (json!({"rate_per_second": 0}), "/rate_per_second"),
        (json!({"rate_per_second": 1001}), "/rate_per_second"),
        (json!({"webhook_id": "7"}), "/webhook_id"),
    ];
    for (body, pointer) in table {
        let (status, answer) = client
            .call("POST", "/api/replays", Some(body.clone()))
            .await;
        assert_eq!(
            (status, &answer["errors"][0]["pointer"]),
            (400, &json!(pointer)),
            "{body}: {answer}"
        );
    }
    let of_webhook = format!(
        "/api/webhooks/{}/replay",
        webhook["id"].as_str().expect("an id")
    );
    let (status, _) = client
        .call(
            "POST",
            &of_webhook,
            Some(json!({"webhook_id": webhook["id"]})),
        )
        .await;
    assert_eq!(status, 400);
    let hook = format!("/api/webhooks/{}", webhook["id"].as_str().expect("an id"));
    client
        .call("PATCH", &hook, Some(json!({"is_active": false})))
        .await;
    let (status, answer) = client.call("POST", &of_webhook, Some(json!({}))).await;
    assert_eq!((status, &answer["code"]), (409, &json!("held")));
    client
        .call("PATCH", &hook, Some(json!({"is_active": true})))
        .await;

    let http = http_client();
    let post = async |key: &str, body: Value| {
        let request = http
            .post(format!("{}/api/replays", app.api))
            .bearer_auth(&client.token);
        let answer = request
            .header("idempotency-key", key)
            .json(&body)
            .send()
            .await
            .expect("answers");
        let status = answer.status().as_u16();
        (
            status,
            serde_json::from_str::<Value>(&answer.text().await.expect("a body")).expect("JSON"),
        )
    };
    let (status, first) = post("k1", json!({})).await;
    assert_eq!(status, 202);
    let (status, again) = post("k1", json!({})).await;
    assert_eq!((status, &again["id"]), (202, &first["id"]));
    let (status, other) = post("k1", json!({"status": "delivered"})).await;
    assert_eq!((status, &other["code"]), (422, &json!("key_reused")));
    let (status, second) = post("k2", json!({})).await;
    assert_eq!(status, 202);
    assert_ne!(second["id"], first["id"]);
    job_when(&client, &second, "done").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_has_so_many_replays_and_no_more() {
    let app = App::start().await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = webhook(&client, &receiver).await;
    give_up(&app.nats.bus().await, &webhook, 100).await;
    counted(&client, 100).await;
    // The first one takes its time, the others wait for it.
    let first = replay(&client, json!({"rate_per_second": 1})).await;
    for _ in 1..ACTIVE_MAX {
        replay(&client, json!({})).await;
    }
    let (status, problem) = client.call("POST", "/api/replays", Some(json!({}))).await;
    assert_eq!((status, &problem["code"]), (409, &json!("replay_limit")));
    let cancel = format!(
        "/api/replays/{}/cancel",
        first["id"].as_str().expect("an id")
    );
    job_when(&client, &first, "running").await;
    assert_eq!(client.call("POST", &cancel, None).await.0, 200);
    job_when(&client, &first, "cancelled").await;
    replay(&client, json!({})).await;

    // Of those that are over the oldest go, and leave nothing behind.
    let other = app.client(2).await;
    let bus = app.nats.bus().await;
    for number in 0..KEPT_MAX as i64 {
        let until = Timestamp::from_millis(number);
        let filter = JobFilter {
            webhook: None,
            status: EventStatus::Failed,
            kind: None,
            since: None,
            until,
        };
        let work = JobWork::Replay {
            filter,
            rate_per_second: 1,
            place: None,
        };
        let client_id = ClientId::try_from(2).expect("in range");
        let mut job = Job::new(JobId(Uuid::now_v7()), client_id, work, until);
        job.end(JobState::Done, until);
        assert!(bus.jobs().create(&job).await.expect("answers"));
    }
    let oldest = |list: &Value| {
        list["data"]
            .as_array()
            .expect("a list")
            .last()
            .expect("some")["until"]
            .clone()
    };
    let before = other.get("/api/replays").await;
    assert_eq!(
        (before["data"].as_array().map(Vec::len), oldest(&before)),
        (Some(KEPT_MAX), json!("1970-01-01T00:00:00Z"))
    );
    let kept = app.nats.messages("KV_wa_jobs").await;
    replay(&other, json!({})).await;
    let after = other.get("/api/replays").await;
    assert_eq!(after["data"].as_array().map(Vec::len), Some(KEPT_MAX));
    assert_eq!(oldest(&after), json!("1970-01-01T00:00:00.001Z"));
    assert_eq!(app.nats.messages("KV_wa_jobs").await, kept);
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
