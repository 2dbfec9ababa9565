//! The store goes away for minutes while deliveries go on, and comes back: is anything slower
//! meanwhile, how much waits, how long until all is on record, and is it there once?
//!
//! Cassandra goes away behind a gate that cuts and refuses connections; SQLite by another
//! connection's lock on its file.

mod trouble;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use async_nats::jetstream;
use hdrhistogram::Histogram;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use wahook::{
    config::Config,
    model::{EventFilter, EventStatus},
    store,
    tasks::Tasks,
};

use self::trouble::Trouble;
use crate::{
    lab::{Lab, ROLES, publishing_until},
    load::seen,
    sink::now_micros,
    system::{Pace, Plan, System},
    webhooks::{self, Endpoint, Manner, UNLIMITED, client},
};

/// Before the store goes away, and after all is on record again.
const AROUND: Duration = Duration::from_secs(20);
/// Until a backlog must be gone.
const DRAIN_MAX: Duration = Duration::from_secs(600);
/// Until the last results must be on record.
const LAST_RESULTS_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);
const PAGE: usize = 500;
const MIB: f64 = 1_048_576.0;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The home: sqlite or cql.
    #[arg(long, value_parser = ["sqlite", "cql"])]
    kind: String,
    /// How long it is away.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Messages per second over all endpoints, from beginning to end.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Endpoints they are spread over.
    #[arg(long, default_value_t = 50)]
    endpoints: u32,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let file = data.path().join("hooks.db");
    let mut trouble = Trouble::prepare(&options.kind, file, data.path()).await?;
    let mut lab = Lab::prepare(&trouble.settings()).await?;
    lab.launch(ROLES).await?;
    let endpoint = |number| Endpoint {
        number,
        manner: Manner::Ok,
        rate_per_second: UNLIMITED,
    };
    let endpoints = (0..options.endpoints).map(endpoint);
    webhooks::register(&lab.bus, lab.sink.port, endpoints).await?;
    let results = Results::of(&lab).await?;

    let stop = CancellationToken::new();
    let plan = Plan {
        first: 0,
        messages: u32::MAX,
        endpoints: options.endpoints,
        pace: Pace::Rate(options.rate),
    };
    let bus = lab.bus.clone();
    let stopped = stop.clone();
    let publisher = tokio::spawn(async move { publishing_until(&stopped, bus, plan).await });
    let outage = outage(options, &mut trouble, &results).await?;
    sleep(AROUND).await;
    stop.cancel();
    let acked = publisher.await??.into_iter().map(|one| one.acked);
    let sent: Option<Vec<(u32, u64)>> = (0..)
        .zip(acked)
        .map(|(number, acked)| Some((number, acked?)))
        .collect();
    let sent = sent.context("a publish was not acknowledged")?;

    let began = Instant::now();
    while results.waiting().await?.0 > 0 && began.elapsed() < LAST_RESULTS_MAX {
        sleep(POLL).await;
    }
    let posts = posts(&lab).await?;
    outage.report(options, &sent, &posts)?;
    let is_whole = is_whole(&lab, &trouble.config()?, &sent, &posts).await?;
    lab.stop().await?;
    trouble.stop().await?;
    ensure!(is_whole, "something was lost, or came twice");
    Ok(())
}

/// What was seen of an outage. Times are the sink's, in microseconds.
struct Outage {
    began: u64,
    over: u64,
    drained: u64,
    away: Duration,
    drained_after: Duration,
    /// Groups and bytes that waited at most.
    waiting_max: (u64, u64),
}

/// Takes the store away and brings it back; returns once the backlog is gone.
async fn outage(
    options: &Options,
    trouble: &mut Trouble,
    results: &Results,
) -> anyhow::Result<Outage> {
    let started = Instant::now();
    let mut usual = 16;
    while started.elapsed() < AROUND {
        usual = usual.max(results.waiting().await?.0);
        sleep(POLL).await;
    }
    trouble.begin().await?;
    let down = Instant::now();
    let began = now_micros();
    let mut waiting_max = (0, 0);
    while down.elapsed() < Duration::from_secs_f64(options.minutes * 60.0) {
        waiting_max = waiting_max.max(results.waiting().await?);
        sleep(Duration::from_secs(1)).await;
    }
    trouble.end().await?;
    let away = down.elapsed();
    let back = Instant::now();
    let over = now_micros();
    let drained = async {
        while results.waiting().await?.0 > usual {
            sleep(POLL).await;
        }
        anyhow::Ok(back.elapsed())
    };
    let drained_after = timeout(DRAIN_MAX, drained)
        .await
        .context("the backlog is still there")??;
    Ok(Outage {
        began,
        over,
        drained: now_micros(),
        away,
        drained_after,
        waiting_max,
    })
}

impl Outage {
    fn report(
        &self,
        options: &Options,
        sent: &[(u32, u64)],
        posts: &HashMap<u32, Vec<u64>>,
    ) -> anyhow::Result<()> {
        println!(
            "{}: away for {:.0} s at {} messages/s",
            options.kind,
            self.away.as_secs_f64(),
            options.rate
        );
        let spans = [
            ("before", 0, self.began),
            ("away", self.began, self.over),
            ("draining, after", self.over, u64::MAX),
        ];
        for (name, from, until) in spans {
            println!("  {name:16} {}", latencies(sent, posts, from, until)?);
        }
        let missed = sent_within(sent, self.began, self.over);
        let live = sent_within(sent, self.over, self.drained);
        let rate = (missed + live) / self.drained_after.as_secs_f64();
        let (groups, bytes) = self.waiting_max;
        println!(
            "  waiting at most          {groups:>8} groups, {:.1} MiB",
            bytes as f64 / MIB
        );
        println!("  attempts that waited     {missed:>8.0}");
        println!(
            "  drained after            {:>8.1} s",
            self.drained_after.as_secs_f64()
        );
        println!(
            "  … attempts/s meanwhile   {rate:>8.0}, {:.1} times the live rate",
            rate / f64::from(options.rate)
        );
        Ok(())
    }
}

/// How many messages were acknowledged in this span.
fn sent_within(sent: &[(u32, u64)], from: u64, until: u64) -> f64 {
    let within = sent.iter().filter(|one| (from..until).contains(&one.1));
    within.count() as f64
}

/// Prints what is on record; whether all of it is, once and at the first attempt.
async fn is_whole(
    lab: &Lab,
    config: &Config,
    sent: &[(u32, u64)],
    posts: &HashMap<u32, Vec<u64>>,
) -> anyhow::Result<bool> {
    let doubled = posts.values().filter(|times| times.len() > 1).count();
    println!(
        "  messages                 {:>8}, {doubled} posted twice",
        sent.len()
    );
    let recorded = recorded(lab, config).await?;
    let missing = sent
        .iter()
        .filter(|one| !recorded.contains_key(&one.0))
        .count();
    let odd = recorded.values().filter(|once| !**once).count();
    println!(
        "  on record                {:>8}, {missing} missing, {odd} not delivered at the first \
         attempt",
        recorded.len()
    );
    Ok(missing == 0 && doubled == 0 && odd == 0)
}

/// When each message was posted, as often as it was.
async fn posts(lab: &Lab) -> anyhow::Result<HashMap<u32, Vec<u64>>> {
    let mut posts: HashMap<u32, Vec<u64>> = HashMap::new();
    for one in seen(lab, 0).await? {
        posts
            .entry(u32::try_from(one.id)?)
            .or_default()
            .push(one.at);
    }
    Ok(posts)
}

/// Publish ack to POST of what was acknowledged in this span.
fn latencies(
    sent: &[(u32, u64)],
    posts: &HashMap<u32, Vec<u64>>,
    from: u64,
    until: u64,
) -> anyhow::Result<String> {
    let mut micros = Histogram::<u64>::new(3)?;
    let mut lost = 0;
    for (number, at) in sent.iter().filter(|one| one.1 >= from && one.1 < until) {
        match posts.get(number).and_then(|times| times.first()) {
            // A POST may overtake its ack on the way back to the publisher.
            Some(posted) => micros.record(posted.saturating_sub(*at).max(1))?,
            None => lost += 1,
        }
    }
    let ms = |quantile| micros.value_at_quantile(quantile) as f64 / 1e3;
    let p50 = ms(0.5);
    let p99 = ms(0.99);
    let count = micros.len();
    Ok(format!(
        "ack to POST p50 {p50:.2} ms, p99 {p99:.2} ms, of {count}; {lost} not posted"
    ))
}

/// Which messages are on record, and whether each was delivered at its first attempt.
async fn recorded(lab: &Lab, config: &Config) -> anyhow::Result<HashMap<u32, bool>> {
    let store = store::open(&config.store, &config.cql, &Tasks::default()).await?;
    let mut all = HashMap::new();
    for webhook in lab.bus.webhooks().list(client()).await? {
        let mut after = None;
        loop {
            let page = store
                .events(client(), webhook.id, EventFilter::default(), after, PAGE)
                .await?;
            let Some(last) = page.last() else { break };
            after = Some(last.last().delivery.event_id);
            for event in &page {
                let attempt = event.last();
                let once = attempt.number == 1 && attempt.status == EventStatus::Delivered;
                let number = attempt
                    .delivery
                    .message_id
                    .as_str()
                    .trim_start_matches(|c: char| !c.is_ascii_digit());
                // A second event for one message would be a double, too.
                let twice = all.insert(number.parse()?, once).is_some();
                ensure!(!twice, "message {number} has two events");
            }
        }
    }
    Ok(all)
}

/// The stream of results.
struct Results(jetstream::Context);

impl Results {
    async fn of(lab: &Lab) -> anyhow::Result<Self> {
        Ok(Self(jetstream::new(
            async_nats::connect(lab.nats.url()).await?,
        )))
    }

    /// Groups and bytes in it.
    async fn waiting(&self) -> anyhow::Result<(u64, u64)> {
        let state = self
            .0
            .get_stream("WA_RESULT")
            .await?
            .cached_info()
            .state
            .clone();
        Ok((state.messages, state.bytes))
    }
}
