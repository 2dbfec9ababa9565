//! Asking for replays, and cancelling them.

use serde_json::{Value, json};
use uuid::Uuid;
use wahook::{
    model::{ClientId, EventStatus, Job, JobFilter, JobId, JobState, JobWork, Timestamp},
    replay::{ACTIVE_MAX, KEPT_MAX},
};

use super::{
    counted, give_up, job_when,
    jobs::{replay, webhook},
    times,
};
use crate::support::{
    app::{App, eventually, http_client},
    receiver::Receiver,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_replay_request_names_each_field() {
    // No deliver: the jobs stay on the bus.
    let app = App::playing("api,record", &[]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = webhook(&client, &receiver).await;
    let table = [
        (json!({"status": "lost"}), "/status"),
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
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_makes_one_replay() {
    // No deliver: the jobs stay on the bus.
    let app = App::playing("api,record", &[]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    webhook(&client, &receiver).await;
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
    let id = first["id"].as_str().expect("an id");
    let cancel = format!("/api/replays/{id}/cancel");
    job_when(&client, &first, "running").await;
    assert_eq!(client.call("POST", &cancel, None).await.0, 200);
    job_when(&client, &first, "cancelled").await;
    replay(&client, json!({})).await;

    app.leaves_work("the replays that run are not waited for");

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
    let before = other.get("/api/replays?limit=250").await;
    assert_eq!(
        (before["data"].as_array().map(Vec::len), oldest(&before)),
        (Some(KEPT_MAX), json!("1970-01-01T00:00:00Z"))
    );
    let kept = app.nats.messages("KV_wa_jobs").await;
    replay(&other, json!({})).await;
    let after = other.get("/api/replays?limit=250").await;
    assert_eq!(after["data"].as_array().map(Vec::len), Some(KEPT_MAX));
    assert_eq!(oldest(&after), json!("1970-01-01T00:00:00.001Z"));
    leaves_nothing(&app, kept).await;
}

/// A marker of the removed one goes after some seconds.
async fn leaves_nothing(app: &App, kept: u64) {
    eventually("nothing of it is left", async || {
        (app.nats.messages("KV_wa_jobs").await == kept).then_some(())
    })
    .await;
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
