//! A tenant who does nothing wrong: it publishes a few messages a second and looks at its webhooks.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{Json, Router, extract::State, http::StatusCode, routing::post};
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    runtime::{Builder, Runtime},
    time::{MissedTickBehavior, interval, sleep},
};

use crate::support::app::{App, Client};

/// Where the victim calls from: the attacker has another address.
const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// Between two messages.
const MESSAGE_INTERVAL: Duration = Duration::from_millis(50);
/// Between two looks at its webhooks.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// How long one call of the API may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a probe waits: as long as supervisors usually do.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How often one asks until it counts as failed; Kubernetes asks three times by default.
const PROBE_TRIES: usize = 2;
/// How long after an attack everything that was accepted may take to arrive.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(60);

type Arrivals = Arc<Mutex<HashMap<String, Instant>>>;

/// The victim and its endpoint, on a thread of their own: what the attacker does in this process
/// must not slow the measuring.
pub(crate) struct Victim {
    runtime: Option<Runtime>,
    caller: Caller,
    arrivals: Arrivals,
    pub(crate) url: String,
}

#[derive(Clone)]
struct Caller {
    api: String,
    /// Where probes ask.
    admin: String,
    token: String,
    http: reqwest::Client,
    /// Like `http`, and keeps no connection.
    prober: reqwest::Client,
    phones: Arc<Vec<String>>,
}

/// What the victim saw in one stretch of time.
#[derive(Default)]
pub(crate) struct Seen {
    /// Accepted messages, and when each was handed to the API.
    pub(crate) accepted: Vec<(String, Instant)>,
    /// Messages that were not accepted: the status, or 0 without an answer.
    pub(crate) refused: Vec<u16>,
    /// How long each call of the API took.
    pub(crate) calls: Vec<Duration>,
    /// Probes of readiness that did not get 200 within [`PROBE_TIMEOUT`], twice in a row.
    pub(crate) failed_probes: usize,
}

impl Victim {
    /// Starts its endpoint. `phones` are to be registered for its URL.
    pub(crate) async fn start(app: &App, client: &Client, phones: Vec<String>) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("victim")
            .enable_all()
            .build()
            .expect("one thread");
        let arrivals = Arrivals::default();
        let book = Arc::clone(&arrivals);
        let started = runtime.spawn(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            let address = listener.local_addr().expect("an address");
            let router = Router::new().route("/", post(arrive)).with_state(book);
            tokio::spawn(async move {
                axum::serve(listener, router)
                    .await
                    .expect("serves until aborted");
            });
            address
        });
        let address = started.await.expect("the endpoint starts");
        let prober = plain_client(PROBE_TIMEOUT).pool_max_idle_per_host(0);
        let caller = Caller {
            api: app.api.clone(),
            admin: app.admin.clone(),
            token: client.token.clone(),
            http: plain_client(CALL_TIMEOUT).build().expect("a plain client"),
            prober: prober.build().expect("a plain client"),
            phones: Arc::new(phones),
        };
        Self {
            runtime: Some(runtime),
            caller,
            arrivals,
            url: format!("http://{address}/"),
        }
    }

    /// Publishes and looks for so long. `name` is part of the messages' ids.
    pub(crate) async fn watch(&self, name: &'static str, duration: Duration) -> Seen {
        let runtime = self.runtime.as_ref().expect("until dropped");
        let watched = runtime.spawn(watch(self.caller.clone(), name, duration));
        watched.await.expect("the victim does not panic")
    }

    /// From the call that published each message to its arrival; and how many never came.
    pub(crate) async fn latencies(&self, seen: &Seen) -> (Vec<Duration>, usize) {
        let end = Instant::now() + ARRIVAL_TIMEOUT;
        loop {
            let arrived = {
                let arrivals = self.arrivals.lock().expect("no panic while held");
                let latency = |(id, sent): &(String, Instant)| Some(*arrivals.get(id)? - *sent);
                seen.accepted.iter().filter_map(latency).collect::<Vec<_>>()
            };
            let missing = seen.accepted.len() - arrived.len();
            if missing == 0 || Instant::now() > end {
                return (arrived, missing);
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A client that calls from the victim's address. Making one reads all certificates of the machine,
/// so none is made while anything is measured.
fn plain_client(timeout: Duration) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder().no_proxy();
    builder.local_address(ADDRESS).timeout(timeout)
}

async fn arrive(State(arrivals): State<Arrivals>, Json(body): Json<Value>) -> StatusCode {
    let now = Instant::now();
    let id = body["message_id"].as_str().unwrap_or_default().to_owned();
    let mut arrivals = arrivals.lock().expect("no panic while held");
    arrivals.entry(id).or_insert(now);
    StatusCode::NO_CONTENT
}

async fn watch(caller: Caller, name: &'static str, duration: Duration) -> Seen {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let end = Instant::now() + duration;
    let mut messages = interval(MESSAGE_INTERVAL);
    let mut looks = interval(LOOK_INTERVAL);
    messages.set_missed_tick_behavior(MissedTickBehavior::Delay);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut calls = tokio::task::JoinSet::new();
    let mut number = 0;
    while Instant::now() < end {
        tokio::select! {
            _ = messages.tick() => {
                number += 1;
                let id = format!("{name}-{number}");
                calls.spawn(publish(caller.clone(), id, number, seen.clone()));
            }
            _ = looks.tick() => {
                calls.spawn(look(caller.clone(), seen.clone()));
                calls.spawn(probe(caller.clone(), seen.clone()));
            }
        }
    }
    calls.join_all().await;
    std::mem::take(&mut *seen.lock().expect("no panic while held"))
}

async fn publish(caller: Caller, id: String, number: usize, seen: Arc<Mutex<Seen>>) {
    let phone = &caller.phones[number % caller.phones.len()];
    let body = json!({
        "phone_number": phone, "message_id": id, "from": "4915100000001",
        "type": "text", "content": "hello",
    });
    let sent = Instant::now();
    let request = caller.http.post(format!("{}/api/messages", caller.api));
    let answer = request.bearer_auth(&caller.token).json(&body).send().await;
    let status = answer.map_or(0, |answer| answer.status().as_u16());
    let mut seen = seen.lock().expect("no panic while held");
    seen.calls.push(sent.elapsed());
    if status == 202 {
        seen.accepted.push((id, sent));
    } else {
        seen.refused.push(status);
    }
}

async fn look(caller: Caller, seen: Arc<Mutex<Seen>>) {
    let sent = Instant::now();
    let request = caller.http.get(format!("{}/api/webhooks/list", caller.api));
    let answer = request.bearer_auth(&caller.token).send().await;
    let status = answer.map_or(0, |answer| answer.status().as_u16());
    let mut seen = seen.lock().expect("no panic while held");
    seen.calls.push(sent.elapsed());
    if status != 200 {
        seen.refused.push(status);
    }
}

/// Like a supervisor: on a new connection each time, and again before it calls the node ill. The
/// listener closes its oldest connection for a new one, so a flood may hit a slow probe once.
async fn probe(caller: Caller, seen: Arc<Mutex<Seen>>) {
    for _ in 0..PROBE_TRIES {
        let request = caller.prober.get(format!("{}/readyz", caller.admin));
        let answer = request.send().await;
        if answer.is_ok_and(|answer| answer.status() == 200) {
            return;
        }
    }
    seen.lock().expect("no panic while held").failed_probes += 1;
}
