//! Live latency beside a replay of many dead letters to the same endpoints.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use wahook::{
    api::token,
    model::{Attempt, Delivery, EventId, EventStatus, Outcome, Priority, Scope, Timestamp, Token, TokenHash, Webhook},
    wire,
};

use crate::{
    lab::{Lab, http_client},
    load::{Load, Pace, client, message, seen},
};

/// Numbers of dead letters begin here, so that the sink's report tells them from live messages.
const FIRST: u32 = 1_000_000_000;
const ENDPOINTS: u32 = 50;
/// Dead letters in one message to the recorder.
const GROUP: usize = 128;
const PATIENCE: Duration = Duration::from_secs(300);

/// What is compared, by whether a replay runs: without, again without, with.
const ARMS: [bool; 3] = [false, false, true];

pub(crate) async fn run(rate: u32, dead_letters: u32, replay_rate: u32, rounds: u32) -> anyhow::Result<()> {
    let mut pooled = ARMS.map(|_| None);
    // The replay is at work for the whole of a run.
    let messages = (u64::from(rate) * u64::from(dead_letters) * 9 / 10 / u64::from(replay_rate)).max(1);
    let messages = u32::try_from(messages).context("fewer dead letters, please")?;
    for round in 0..rounds as usize {
        let mut p99 = [0.0; ARMS.len()];
        for turn in 0..ARMS.len() {
            let arm = (round + turn) % ARMS.len();
            let lab = Lab::start().await?;
            let load = Load { messages, endpoints: ENDPOINTS, pace: Pace::Rate(rate), hanging: false };
            load.register(&lab).await?;
            let caller = Caller::new(&lab).await?;
            give_up(&lab, dead_letters).await?;
            caller
                .until(|caller| Box::pin(caller.matches(dead_letters)))
                .await
                .context("recording the dead letters")?;
            let began = Instant::now();
            ensure!(caller.matches(dead_letters).await?, "the dead letters went away");
            let counting = began.elapsed();
            let job = if ARMS[arm] { Some(caller.begin(replay_rate).await?) } else { None };
            let began = Instant::now();
            let report = load.measure(&lab).await?;
            if let Some(job) = job {
                caller.until(|caller| Box::pin(caller.is_over(&job))).await.context("the replay")?;
                sleep(Duration::from_secs(2)).await;
                println!("  counting them took {:.0} ms", counting.as_secs_f64() * 1e3);
                check(&lab, &caller, &job, dead_letters, began.elapsed()).await?;
            }
            lab.stop().await?;
            ensure!(report.delivered == report.published, "not all live messages came:\n{report}");
            p99[arm] = report.latency(0.99).as_secs_f64() * 1e3;
            match &mut pooled[arm] {
                none @ None => *none = Some(report.micros),
                Some(all) => all.add(report.micros)?,
            }
        }
        let [without, again, with] = p99;
        println!(
            "round {}: live p99 {without:.2} ms without, {again:.2} ms again without, {with:.2} ms with",
            round + 1
        );
    }
    let [without, again, with] = pooled.map(|all| all.map_or(f64::NAN, |all| all.value_at_quantile(0.99) as f64 / 1e3));
    println!("all rounds together: live p99 {without:.2} ms without, {again:.2} ms again without, {with:.2} ms with");
    println!("ratio with / without {:.2}; noise, again without / without {:.2}", with / without, again / without);
    Ok(())
}

/// Puts dead letters into the audit, spread over the endpoints, on the way that results take.
async fn give_up(lab: &Lab, count: u32) -> anyhow::Result<()> {
    let webhooks = lab.bus.registry().list(client()).await?;
    let now = Timestamp::from_system(SystemTime::now());
    for endpoint in 0..ENDPOINTS {
        let phone = Load::phone(endpoint);
        let webhook = webhooks.iter().find(|webhook| webhook.phone == phone).context("registered above")?;
        let numbers: Vec<u32> = (0..count).filter(|number| number % ENDPOINTS == endpoint).collect();
        for group in numbers.chunks(GROUP) {
            let attempts: Vec<_> = group.iter().map(|number| letter(webhook, endpoint, *number, now)).collect();
            lab.bus.publish_results(wire::partition(client(), &phone), &attempts).await?;
        }
    }
    Ok(())
}

fn letter(webhook: &Webhook, endpoint: u32, number: u32, now: Timestamp) -> Attempt {
    let message = message(FIRST + number, endpoint);
    let created_at = Timestamp::from_millis(now.millis() - 1 - i64::from(number));
    let (chat, from, id, kind) = (&message.chat, &message.from, &message.message_id, &message.kind);
    Attempt {
        delivery: Delivery {
            event_id: EventId::derive(created_at, webhook.id, chat, from, id, kind),
            webhook_id: webhook.id,
            client_id: client(),
            body: wire::webhook_body(&message),
            phone: message.phone,
            message_id: message.message_id,
            kind: message.kind,
            created_at,
            attempts: 0,
            tries: 0,
            priority: Priority::Normal,
        },
        number: 1,
        outcome: Outcome::Http4xx,
        status: EventStatus::Failed,
        http_status: Some(400),
        response: None,
        error: Some("answered 400".to_owned()),
        started_at: created_at,
        latency_ms: 1,
        next_retry_at: None,
    }
}

/// Each once, as the sink saw it.
async fn check(lab: &Lab, caller: &Caller, job: &str, count: u32, took: Duration) -> anyhow::Result<()> {
    let all: Vec<u64> = seen(lab).await?.into_iter().map(|(number, _)| number).collect();
    let again: Vec<u64> = all.into_iter().filter(|number| *number >= u64::from(FIRST)).collect();
    let distinct: HashSet<_> = again.iter().collect();
    let shown = caller.get(&format!("/api/replays/{job}")).await?;
    println!(
        "  replay: {} of {count} came, {} twice, in {:.0} s; the job says {} sent",
        distinct.len(),
        again.len() - distinct.len(),
        took.as_secs_f64(),
        shown["sent"]
    );
    ensure!(distinct.len() == count as usize, "not all dead letters came: {shown}");
    Ok(())
}

/// A caller of the API.
struct Caller {
    http: reqwest::Client,
    api: String,
    token: String,
}

type Asking<'a> = std::pin::Pin<Box<dyn Future<Output = anyhow::Result<bool>> + 'a>>;

impl Caller {
    async fn new(lab: &Lab) -> anyhow::Result<Self> {
        let (text, id) = token::generate();
        let created_at = Timestamp::from_system(SystemTime::now());
        let (name, scopes) = ("bench".to_owned(), Scope::ALL.to_vec());
        let token = Token { id, client_id: client(), scopes, name, created_at, expires_at: None };
        lab.bus.registry().put_token(&TokenHash::of(&text), &token).await?;
        Ok(Self { http: http_client()?, api: lab.api.clone(), token: text })
    }

    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self.http.get(format!("{}{path}", self.api)).bearer_auth(&self.token).send().await?;
        Ok(answer.error_for_status()?.json().await?)
    }

    async fn replay(&self, body: Value) -> anyhow::Result<Value> {
        let request = self.http.post(format!("{}/api/replays", self.api)).bearer_auth(&self.token).json(&body);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    async fn matches(&self, count: u32) -> anyhow::Result<bool> {
        let answer = self.replay(json!({"dry_run": true})).await?;
        Ok(answer["matched"] == count && answer["is_complete"] == true)
    }

    /// A replay of all, once it sends.
    async fn begin(&self, rate: u32) -> anyhow::Result<String> {
        let job = self.replay(json!({"rate_per_second": rate})).await?;
        let id = job["id"].as_str().context("an id")?.to_owned();
        self.until(|caller| {
            let path = format!("/api/replays/{id}");
            Box::pin(async move { Ok(caller.get(&path).await?["sent"].as_u64().is_some_and(|sent| sent > 0)) })
        })
        .await?;
        Ok(id)
    }

    async fn is_over(&self, id: &str) -> anyhow::Result<bool> {
        let job = self.get(&format!("/api/replays/{id}")).await?;
        ensure!(job["state"] != "failed", "{job}");
        Ok(job["state"] == "done")
    }

    async fn until<'a>(&'a self, mut ask: impl FnMut(&'a Self) -> Asking<'a>) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        while !ask(self).await? {
            ensure!(Instant::now() < end, "not within {PATIENCE:?}");
            sleep(Duration::from_millis(500)).await;
        }
        Ok(())
    }
}
