//! Live latency beside a replay of many dead letters to the same endpoints.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use anyhow::{Context, ensure};
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};
use wahook::{
    model::{Attempt, Delivery, EventId, EventStatus, Outcome, Priority, Timestamp, Webhook},
    wire,
};

use crate::{
    caller::Caller,
    compare,
    lab::{Lab, ROLES, publishing},
    load::{Load, seen},
    results::Results,
    system::{Pace, System},
    webhooks::{client, message, phone},
};

/// Numbers of dead letters begin here, so that the sink's report tells them from live messages.
const FIRST: u32 = 1_000_000_000;
const ENDPOINTS: u32 = 50;
/// Dead letters in one message to the recorder.
const GROUP: usize = 128;
/// What a node had in hand when it was killed comes again after `bus.ack_wait`.
const IN_HAND: Duration = Duration::from_secs(75);

#[derive(Debug, Clone, Copy)]
struct Progress {
    sent: u64,
    is_over: bool,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Messages per second over all endpoints, beside the replay.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Dead letters that are sent again.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    dead_letters: u32,
    /// How many of them per second; a run lasts as long as the replay.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    replay_rate: u32,
    /// How often all three are run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Instead of comparing: one replay during which the node is killed so many times.
    #[arg(long, default_value_t = 0)]
    kills: u32,
}

pub(crate) async fn run(options: &Options, results: &mut Results) -> anyhow::Result<()> {
    let &Options {
        rate,
        dead_letters,
        replay_rate,
        rounds,
        kills,
    } = options;
    // The replay is at work for the whole of a run.
    let messages =
        (u64::from(rate) * u64::from(dead_letters) * 9 / 10 / u64::from(replay_rate)).max(1);
    let messages = u32::try_from(messages).context("fewer dead letters, please")?;
    let load = Load::new(messages, ENDPOINTS, Pace::Rate(rate));
    if kills > 0 {
        return killed(options, &load, results).await;
    }
    let run = async |replays: bool| {
        let lab = Lab::start().await?;
        let caller = prepare(&lab, &load, dead_letters).await?;
        let began = Instant::now();
        ensure!(
            matches(&caller, dead_letters).await?,
            "the dead letters went away"
        );
        let counting = began.elapsed();
        let job = if replays {
            Some(begin(&caller, replay_rate).await?)
        } else {
            None
        };
        let began = Instant::now();
        let report = load.measure(&lab).await?;
        if let Some(job) = job {
            caller
                .until(|caller| Box::pin(is_over(caller, &job)))
                .await
                .context("the replay")?;
            sleep(Duration::from_secs(2)).await;
            println!(
                "  counting them took {:.0} ms",
                counting.as_secs_f64() * 1e3
            );
            let replayed = check(&lab, &caller, &job, dead_letters, began.elapsed()).await?;
            println!("  {replayed}");
        }
        lab.stop().await?;
        Ok(report)
    };
    compare::alternate(results, rounds, run).await
}

/// A replay goes on where it was, whenever the node dies, and live messages beside it are not lost.
async fn killed(options: &Options, load: &Load, results: &mut Results) -> anyhow::Result<()> {
    let &Options {
        rate,
        dead_letters,
        replay_rate,
        kills,
        ..
    } = options;
    // Warnings are what a kill is expected to make.
    let mut lab = Lab::prepare(&[("LOG__FILTER", "error".to_owned())]).await?;
    lab.launch(ROLES).await?;
    let caller = prepare(&lab, load, dead_letters).await?;
    let began = Instant::now();
    let job = begin(&caller, replay_rate).await?;
    let publishing = tokio::spawn(publishing(lab.bus.clone(), load.plan()));
    let mut killed_at = began;
    for kill in 1..=kills {
        let mark = u64::from(dead_letters) * u64::from(kill) / u64::from(kills + 1);
        let reached = caller
            .until(|caller| Box::pin(async { Ok(progress(caller, &job).await?.sent >= mark) }))
            .await;
        reached.with_context(|| format!("kill {kill}, to come when {mark} are sent"))?;
        lab.kill_nodes().await?;
        killed_at = Instant::now();
        lab.launch(ROLES).await?;
    }
    caller
        .until(|caller| Box::pin(is_over(caller, &job)))
        .await
        .context("the replay")?;
    let took = began.elapsed();
    sleep_until(killed_at + IN_HAND).await;
    let sent = publishing.await??;
    let seen = load.wait(&lab, 0, &sent).await?;
    let replayed = check(&lab, &caller, &job, dead_letters, took).await?;
    lab.stop().await?;
    let accepted = sent.iter().filter(|one| one.acked.is_some()).count();
    let live: Vec<u64> = seen
        .iter()
        .filter(|one| one.taken() && one.id < u64::from(FIRST))
        .map(|one| one.id)
        .collect();
    let taken: HashSet<_> = live
        .iter()
        .filter(|id| sent[**id as usize].acked.is_some())
        .collect();
    results.say(format!(
        "wahook killed {kills} times during a replay at {replay_rate}/s beside {rate} live \
         messages/s\n  {replayed}\n  \
         live: accepted {accepted} of {}, lost {}, {} twice",
        sent.len(),
        accepted - taken.len(),
        live.len() - live.iter().collect::<HashSet<_>>().len(),
    ));
    ensure!(taken.len() == accepted, "live messages were lost");
    Ok(())
}

/// Endpoints, and dead letters to them on record.
async fn prepare(lab: &Lab, load: &Load, dead_letters: u32) -> anyhow::Result<Caller> {
    load.register(lab).await?;
    let caller = Caller::new(&lab.bus, &lab.api).await?;
    give_up(lab, dead_letters).await?;
    caller
        .until(|caller| Box::pin(matches(caller, dead_letters)))
        .await
        .context("recording the dead letters")?;
    Ok(caller)
}

/// Puts dead letters into the audit, spread over the endpoints, on the way that results take.
async fn give_up(lab: &Lab, count: u32) -> anyhow::Result<()> {
    let webhooks = lab.bus.webhooks().list(client()).await?;
    let now = Timestamp::from_system(SystemTime::now());
    for endpoint in 0..ENDPOINTS {
        let phone = phone(endpoint);
        let webhook = webhooks
            .iter()
            .find(|webhook| webhook.phone == phone)
            .context("registered above")?;
        let numbers: Vec<u32> = (0..count)
            .filter(|number| number % ENDPOINTS == endpoint)
            .collect();
        for group in numbers.chunks(GROUP) {
            let attempts: Vec<_> = group
                .iter()
                .map(|number| letter(webhook, endpoint, *number, now))
                .collect();
            lab.bus
                .publish_results(lab.bus.partition_of(client(), &phone), &attempts)
                .await?;
        }
    }
    Ok(())
}

fn letter(webhook: &Webhook, endpoint: u32, number: u32, now: Timestamp) -> Attempt {
    let message = message(FIRST + number, endpoint);
    let created_at = Timestamp::from_millis(now.millis() - 1 - i64::from(number));
    let chat = &message.chat;
    let from = &message.from;
    let id = &message.message_id;
    let kind = &message.kind;
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
            attempt_count: 0,
            attempts_this_round: 0,
            priority: Priority::Normal,
            chat_key: None,
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

/// Whether all came, as the sink saw it, and how many more than once.
async fn check(
    lab: &Lab,
    caller: &Caller,
    job: &str,
    count: u32,
    took: Duration,
) -> anyhow::Result<String> {
    let all: Vec<u64> = seen(lab, 0).await?.into_iter().map(|one| one.id).collect();
    let again: Vec<u64> = all
        .into_iter()
        .filter(|number| *number >= u64::from(FIRST))
        .collect();
    let distinct: HashSet<_> = again.iter().collect();
    let shown = progress(caller, job).await?;
    ensure!(
        distinct.len() == count as usize,
        "{} of {count} dead letters came: {shown:?}",
        distinct.len()
    );
    Ok(format!(
        "replay: {} of {count} came, {} twice; the job was done after {:.0} s and says {} sent",
        distinct.len(),
        again.len() - distinct.len(),
        took.as_secs_f64(),
        shown.sent
    ))
}

/// Whether the audit has so many dead letters.
async fn matches(caller: &Caller, count: u32) -> anyhow::Result<bool> {
    let answer = caller
        .post("/api/replays", &json!({"dry_run": true}))
        .await?;
    Ok(answer["matched"] == count && answer["is_complete"] == true)
}

/// A replay of all, once it sends.
async fn begin(caller: &Caller, rate: u32) -> anyhow::Result<String> {
    let job = caller
        .post("/api/replays", &json!({"rate_per_second": rate}))
        .await?;
    let id = job["id"].as_str().context("an id")?.to_owned();
    caller
        .until(|caller| Box::pin(async { Ok(progress(caller, &id).await?.sent > 0) }))
        .await?;
    Ok(id)
}

async fn progress(caller: &Caller, id: &str) -> anyhow::Result<Progress> {
    let job = caller.get(&format!("/api/replays/{id}")).await?;
    ensure!(job["state"] != "failed", "{job}");
    Ok(Progress {
        sent: job["sent"].as_u64().context("a count")?,
        is_over: job["state"] == "done",
    })
}

async fn is_over(caller: &Caller, id: &str) -> anyhow::Result<bool> {
    Ok(progress(caller, id).await?.is_over)
}
