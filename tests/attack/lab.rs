//! One attack: a quiet stretch, the attack, what is left of it, and the judgement.

use std::{ffi::OsStr, future::Future, sync::Arc, time::Duration};

use rustix::process::{Pid, setpriority_process};
use serde_json::{Value, json};
use tokio::time::sleep;
use wahook::{
    model::{ClientId, Phone},
    wire,
};

use crate::{
    report::{Figures, Report, Tally, quantile},
    support::app::{App, Client, eventually},
    victim::{Seen, Victim},
};

/// As many as `bus.partitions` says by default.
const PARTITIONS: u16 = 8;
const ATTACKER: u64 = 1;
const VICTIM: u64 = 2;
/// Numbers of the victim: each in a partition of its own, where the attacker has numbers, too.
const VICTIM_PARTITIONS: [u16; 2] = [0, 5];
/// The niceness of the threads that attack.
const LOW_PRIORITY: i32 = 10;
/// How long one call of the attacker's may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// What every attack runs with. Registering is not what is attacked, unless an attack says so.
const SETTINGS: [(&str, &str); 4] = [
    ("API__REGISTRATIONS_PER_MINUTE", "10000"),
    ("DELIVER__TIMEOUT", "10s"),
    ("DELIVER__RETRY_BASE", "5s"),
    ("BUS__ACK_WAIT", "30s"),
];

/// How long each attack lasts.
pub(crate) fn attack_duration() -> Duration {
    let chosen = std::env::var("ATTACK_SECONDS").ok();
    let seconds = chosen.map(|text| text.parse().expect("ATTACK_SECONDS is a number"));
    let default = if crate::report::is_strict() {
        15.0
    } else {
        4.0
    };
    Duration::from_secs_f64(seconds.unwrap_or(default))
}

/// The one who attacks: a token, a client for HTTP, and a number in each partition.
pub(crate) struct Attacker {
    pub(crate) api: String,
    pub(crate) admin: String,
    pub(crate) token: String,
    pub(crate) http: reqwest::Client,
    pub(crate) phones: Vec<String>,
    pub(crate) answers: Tally,
}

impl Attacker {
    /// Status and body; 0 without an answer. The status is counted.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> (u16, String) {
        let method = method.parse().expect("a method");
        let mut request = self.http.request(method, format!("{}{path}", self.api));
        if let Some(body) = body {
            request = request.json(body);
        }
        self.send(request).await
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> (u16, String) {
        let (status, text) = match request.bearer_auth(&self.token).send().await {
            Ok(answer) => (
                answer.status().as_u16(),
                answer.text().await.unwrap_or_default(),
            ),
            Err(_) => (0, String::new()),
        };
        self.answers.note(status);
        (status, text)
    }

    /// Registers one of its numbers for this URL; the webhook's id.
    pub(crate) async fn register(&self, phone: &str, url: &str, more: &Value) -> String {
        let mut body = json!({"phone_number": phone, "webhook_url": url});
        let fields = body.as_object_mut().expect("an object");
        fields.extend(more.as_object().expect("an object").clone());
        let (status, text) = self
            .call("POST", "/api/webhooks/register", Some(&body))
            .await;
        assert!(matches!(status, 200 | 201), "register: {status} {text}");
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        answer["id"].as_str().expect("an id").to_owned()
    }

    /// Registers all of its numbers for this URL.
    pub(crate) async fn register_all(&self, url: &str, more: &Value) -> Vec<String> {
        let mut ids = Vec::new();
        for phone in &self.phones {
            ids.push(self.register(phone, url, more).await);
        }
        ids
    }

    /// Publishes a text of so many bytes.
    pub(crate) async fn publish(&self, number: usize, bytes: usize) -> u16 {
        let phone = &self.phones[number % self.phones.len()];
        let text = "x".repeat(bytes.min(200_000));
        let more = "y".repeat(bytes.saturating_sub(200_000));
        // Written by hand: this build serializes half a megabyte more slowly than wahook reads it.
        let body = format!(
            r#"{{"phone_number": "{phone}", "message_id": "A{number}", "from": "4915100000009",
                "type": "text", "content": "{text}", "metadata": {{"more": "{more}"}}}}"#,
        );
        let request = self.http.post(format!("{}/api/messages", self.api));
        let request = request.header("content-type", "application/json");
        self.send(request.body(body)).await.0
    }
}

impl Attacker {
    /// Whether its token is refused. Its connections of the attack may have to end first.
    async fn is_refused(&self) -> bool {
        for _ in 0..5 {
            let request = self.http.get(format!("{}/api/webhooks/list", self.api));
            if let Ok(answer) = request.bearer_auth(&self.token).send().await {
                return answer.status() == 401;
            }
            sleep(Duration::from_millis(200)).await;
        }
        false
    }
}

/// Does something over and over, so many at a time, until the attack ends.
pub(crate) async fn hammer<F>(at_once: usize, act: impl Fn(usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    let mut number = 0;
    loop {
        while tasks.len() < at_once {
            tasks.spawn(act(number));
            number += 1;
        }
        tasks.join_next().await;
    }
}

/// An attack that registers all numbers for a URL, and publishes texts of so many bytes for them,
/// so many at a time.
pub(crate) async fn flood(
    name: &'static str,
    url: String,
    settings: Value,
    at_once: usize,
    bytes: usize,
) {
    let attack = async move |attacker: Arc<Attacker>| {
        attacker.register_all(&url, &settings).await;
        hammer(at_once, |number| {
            let attacker = Arc::clone(&attacker);
            async move {
                attacker.publish(number, bytes).await;
            }
        })
        .await;
    };
    Lab::start(&[]).await.attack(name, attack).await;
}

/// The executable with an attacker and a victim.
pub(crate) struct Lab {
    pub(crate) app: App,
    pub(crate) attacker: Arc<Attacker>,
    victim: Victim,
}

impl Lab {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> Self {
        let settings: Vec<_> = SETTINGS.iter().chain(settings).copied().collect();
        let app = App::playing("api,deliver,record", &settings).await;
        app.leaves_work("what the attacker published is not waited for");
        let attacker = app.client(ATTACKER).await;
        let caller = app.client(VICTIM).await;
        let phones = VICTIM_PARTITIONS
            .map(|partition| phone(VICTIM, partition))
            .to_vec();
        let victim = Victim::start(&app, &caller, phones.clone()).await;
        for phone in &phones {
            let body = json!({
                "phone_number": phone, "webhook_url": victim.url, "rate_per_second": 1000,
            });
            caller.register_with(body).await;
        }
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(CALL_TIMEOUT)
            .build();
        let attacker = Attacker {
            api: app.api.clone(),
            admin: app.admin.clone(),
            token: attacker.token,
            http: http.expect("a plain client"),
            phones: (0..PARTITIONS)
                .map(|partition| phone(ATTACKER, partition))
                .collect(),
            answers: Tally::default(),
        };
        Self {
            app,
            attacker: Arc::new(attacker),
            victim,
        }
    }

    /// Runs an attack until its time is over, and judges what the victim saw.
    pub(crate) async fn attack<F>(self, name: &'static str, attack: impl FnOnce(Arc<Attacker>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        // Connections are made and caches filled before anything is measured.
        let warm = self.victim.watch("warm", Duration::from_secs(1)).await;
        self.victim.latencies(&warm).await;
        let quiet = self.victim.watch("quiet", attack_duration() / 2).await;
        let quiet = self.figures(&quiet).await;
        yield_to_others();
        let running = tokio::spawn(attack(Arc::clone(&self.attacker)));
        let seen = self.victim.watch("attack", attack_duration()).await;
        // An attack that is over early must not have failed.
        if running.is_finished() {
            running.await.expect("the attack itself works");
        } else {
            running.abort();
        }
        let under_attack = self.figures(&seen).await;
        let revoked = self.revoke().await;
        let report = Report {
            attack: name,
            quiet,
            under_attack,
            answers: self.attacker.answers.counts(),
            revoked,
            rss_peak_bytes: self.app.peak_rss_bytes(),
            panics: self.app.log().matches("panicked at").count(),
        };
        report.judge();
    }

    async fn figures(&self, seen: &Seen) -> Figures {
        let (latencies, lost) = self.victim.latencies(seen).await;
        Figures {
            accepted: seen.accepted.len(),
            refused: seen.refused.clone(),
            failed_probes: seen.failed_probes,
            lost,
            p50: quantile(&latencies, 0.5),
            p99: quantile(&latencies, 0.99),
            call_max: seen.calls.iter().max().copied().unwrap_or_default(),
        }
    }

    /// Revokes the attacker's token by the command line, as an operator would.
    async fn revoke(&self) -> bool {
        let listed = self.app.command(&["token", "list"]).await;
        let line = listed.lines().find(|line| line.contains("\tclient 1\t"));
        let id = line.and_then(|line| line.split('\t').next());
        let Some(id) = id else {
            return false;
        };
        let (code, ..) = self.app.attempt(&["token", "revoke", id], &[]).await;
        code == Some(0) && self.attacker.is_refused().await
    }
}

/// Lets this runtime's threads, which attack, have a processor only when hardly anybody else wants
/// it: an attacker would have a machine of its own. The victim's thread and all processes stay as
/// they are.
fn yield_to_others() {
    let threads = std::fs::read_dir("/proc/self/task").expect("the list of threads");
    for thread in threads {
        let thread = thread.expect("an entry").path();
        let name = std::fs::read_to_string(thread.join("comm")).unwrap_or_default();
        if !name.starts_with("tokio-r") {
            continue;
        }
        let id = thread.file_name().and_then(OsStr::to_str);
        let id = id.and_then(|id| id.parse().ok()).and_then(Pid::from_raw);
        setpriority_process(id, LOW_PRIORITY).expect("everybody may yield");
    }
}

/// Waits until an event of this message has ended; its status.
pub(crate) async fn ended(client: &Client, webhook: &Value, message: &str) -> String {
    eventually(&format!("{message} has ended"), async || {
        let events = client.events(webhook).await;
        let event = events
            .into_iter()
            .find(|event| event["message_id"] == message)?;
        let status = event["status"].as_str()?.to_owned();
        matches!(status.as_str(), "delivered" | "failed").then_some(status)
    })
    .await
}

/// A number of this client's in this partition.
fn phone(client: u64, partition: u16) -> String {
    let client = ClientId::try_from(client).expect("in range");
    let phones = (0u64..).map(|rest| format!("4917{rest:09}").parse::<Phone>().expect("digits"));
    let mut fitting =
        phones.filter(|phone| wire::partition(client, phone, PARTITIONS) == partition);
    fitting
        .next()
        .expect("every partition has numbers")
        .as_str()
        .to_owned()
}
