//! Limits hold for requests that come at the same time, over several nodes.

use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::time::interval;
use uuid::Uuid;
use wahook::{
    bus::{Bus, Lease},
    model::{ClientId, EventStatus, Job, JobFilter, JobId, JobWork, Timestamp},
    replay::ACTIVE_MAX,
};

use super::PHONE;
use crate::support::{
    app::{App, http_client},
    process::free_port,
};

/// A replay that is active for as long as its lease is held here, and the lease.
async fn stuck_replay(bus: &Bus, client: ClientId) -> Lease {
    let id = JobId(Uuid::now_v7());
    let name = format!("replay.{client}.{id}");
    let lease = bus.acquire_lease(&name, "test");
    let lease = lease.await.expect("an answer").expect("is free");
    let filter = JobFilter {
        webhook: None,
        status: EventStatus::Failed,
        kind: None,
        since: None,
        until: Timestamp::EPOCH,
    };
    let work = JobWork::Replay {
        filter,
        rate_per_second: 1,
        place: None,
    };
    // The oldest, so no other replay of the client begins.
    let job = Job::new(id, client, work, Timestamp::EPOCH);
    assert!(bus.jobs().create(&job).await.expect("an answer"));
    lease
}

/// Never ends while the lease is held.
async fn keep(lease: &Lease) {
    let mut ticks = interval(Duration::from_secs(1));
    loop {
        ticks.tick().await;
        assert!(lease.renew().await.expect("an answer"), "the lease is held");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_replays_than_allowed_are_created_at_once() {
    let app = App::playing("api", &[]).await;
    let client = app.client(1).await;
    client.register(PHONE, "http://127.0.0.1:1/").await;
    let bus = app.nats.bus().await;
    let lease = stuck_replay(&bus, ClientId::try_from(1).expect("in range")).await;
    let second = format!("127.0.0.1:{}", free_port());
    let mut node = app.second_with("api", &[("API__LISTEN", &second)]);
    node.ready().await;
    let hosts = [app.api.clone(), format!("http://{second}")];
    let http = http_client();
    let requests = (0..60).map(|number| {
        let url = format!("{}/api/replays", hosts[number % 2]);
        let request = http.post(url).bearer_auth(&client.token);
        request.json(&json!({})).send()
    });
    let answers = tokio::select! {
        answers = join_all(requests) => answers,
        () = keep(&lease) => unreachable!("it never ends"),
    };
    let statuses: Vec<u16> = answers
        .into_iter()
        .map(|answer| answer.expect("an answer").status().as_u16())
        .collect();
    let created = statuses.iter().filter(|status| **status == 202).count();
    assert_eq!(created, ACTIVE_MAX - 1, "{statuses:?}");
    let is_refused = |status: &u16| [202, 409, 503].contains(status);
    assert!(statuses.iter().all(is_refused), "{statuses:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_the_same_message_is_never_refused_as_reused() {
    let app = App::start().await;
    let client = app.client(1).await;
    let (status, session) = client.call("POST", "/api/sessions", Some(json!({}))).await;
    assert_eq!(status, 201, "{session}");
    let http = http_client();
    let send = |body: Value| {
        let request = http
            .post(format!("{}/api/messages/send", app.api))
            .bearer_auth(&client.token)
            .header("idempotency-key", "one");
        async move {
            let answer = request.json(&body).send().await.expect("an answer");
            answer.status().as_u16()
        }
    };
    let body = json!({"session_id": session["id"], "to": "4915200000009", "text": "hi"});
    for _ in 0..10 {
        let statuses = join_all((0..16).map(|_| send(body.clone()))).await;
        // Nothing was sent, so nothing else was sent under the key either.
        assert!(!statuses.contains(&422), "{statuses:?}");
    }
}
