//! A home of the audit under load: written through the record role, then read in pages.

mod cassandra;
mod counting;
mod reading;

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use anyhow::Context;
use tokio::{
    sync::Semaphore,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use wahook::{
    bus::Bus,
    config::{self, Config},
    model::{
        Attempt, ClientId, Delivery, EventId, EventStatus, Kind, Outcome, Priority, Timestamp,
        WebhookId,
    },
    record::Record,
    store::{self, Migrator, Store},
    tasks::Tasks,
    telemetry::Metrics,
};

pub(crate) use self::cassandra::Cassandra;
use self::{cassandra::size_bytes, counting::Counting};
use crate::process::{Nats, connect};

/// How long the store may take to take what was written.
const WRITE_MAX: Duration = Duration::from_secs(120);
/// Attempts in one group, as `deliver` makes them under load.
const GROUP: usize = 128;
/// Groups whose publish is under way.
const IN_FLIGHT: usize = 16;
/// So far the publisher may be ahead of the store: less than the stream takes.
const AHEAD: u64 = 100_000;
const BODY_BYTES: usize = 900;
/// One attempt in so many goes to one webhook.
const HOT: u64 = 10;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// The home: sqlite or cql.
    #[arg(long, value_parser = ["sqlite", "cql"])]
    kind: String,
    /// Attempts to write.
    #[arg(long, default_value_t = 1_000_000)]
    rows: u64,
    /// Webhooks they belong to.
    #[arg(long, default_value_t = 1000)]
    webhooks: u64,
}

struct Bench {
    bus: Bus,
    store: Arc<Counting>,
    metrics: Metrics,
    cancel: CancellationToken,
    tasks: Tasks,
    webhooks: u64,
}

pub(crate) async fn run(options: &Options) -> anyhow::Result<()> {
    let data = tempfile::tempdir()?;
    let cassandra = if options.kind == "cql" {
        Some(Cassandra::start(data.path()).await?)
    } else {
        None
    };
    let nats = Nats::start(data.path())?;
    let config = settings(options, &nats, cassandra.as_ref(), data.path())?;
    if cassandra.is_some() {
        let migrator = Migrator::connect(&config.cql, config.store.retention).await?;
        for step in migrator.plan(Some(1)).await? {
            migrator.apply(&step).await?;
        }
    }
    let bench = Bench::start(&config, options.webhooks).await?;
    println!(
        "{}: {} attempts of {} webhooks, {BODY_BYTES} bytes of body each",
        options.kind, options.rows, options.webhooks
    );
    let written = bench.write_all(options.rows, cassandra.is_some()).await?;
    bench.read().await?;
    bench.stop().await;
    nats.stop().await?;
    let bytes = match cassandra {
        Some(node) => node.stop().await?,
        None => size_bytes(data.path(), &|path| {
            path.extension().is_some_and(|ending| ending == "db")
        })?,
    };
    println!(
        "  bytes per attempt on disk      {:>10.0}",
        bytes as f64 / written as f64
    );
    Ok(())
}

fn settings(
    options: &Options,
    nats: &Nats,
    cassandra: Option<&Cassandra>,
    data: &Path,
) -> anyhow::Result<Config> {
    let port = cassandra.map_or(0, |node| node.port);
    let flags = [
        ("nats.url", nats.url()),
        ("store.kind", options.kind.clone()),
        ("store.path", data.join("hooks.db").display().to_string()),
        ("cql.nodes", format!("127.0.0.1:{port}")),
        ("cql.read_timeout", "30s".to_owned()),
        ("cql.write_timeout", "30s".to_owned()),
    ];
    let flags = flags
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
    Ok(Config::load(&config::Sources::from_process(None, flags))?)
}

/// How deliveries go.
#[derive(Clone, Copy, PartialEq)]
enum Attempted {
    AtOnce,
    /// Each fails once, then goes through.
    AtTheSecond,
}

impl Bench {
    /// The record role, on a store that counts.
    async fn start(config: &Config, webhooks: u64) -> anyhow::Result<Self> {
        let bus = connect(config).await?;
        bus.apply().await?;
        let inner = store::open(&config.store, &config.cql, &Tasks::default()).await?;
        let store = Arc::new(Counting {
            inner,
            recorded: AtomicU64::new(0),
        });
        let cancel = CancellationToken::new();
        let tasks = Tasks::default();
        Record::start(
            bus.clone(),
            Arc::clone(&store) as Arc<dyn Store>,
            config.store.retention,
            &tasks,
            cancel.clone(),
        );
        Ok(Self {
            bus,
            store,
            metrics: Metrics::install(),
            cancel,
            tasks,
            webhooks,
        })
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.tasks.wait().await;
    }

    /// Writes so many attempts, and some more that failed once; how many in all.
    async fn write_all(&self, rows: u64, counts_statements: bool) -> anyhow::Result<u64> {
        let span = self.write(rows, Attempted::AtOnce).await?;
        println!(
            "  attempts/s through record      {:>10.0}",
            rows as f64 / span.as_secs_f64()
        );
        let statements = self.statements();
        if counts_statements {
            println!(
                "  statements per delivery        {:>10.3}",
                statements as f64 / rows as f64
            );
        }
        let troubled = (rows / 100).max(2);
        self.write(troubled, Attempted::AtTheSecond).await?;
        if counts_statements {
            let more = self.statements() - statements;
            println!(
                "  … that failed once             {:>10.3}",
                more as f64 / (troubled / 2) as f64
            );
        }
        Ok(rows + troubled)
    }

    fn webhook(&self, number: u64) -> WebhookId {
        let place = if number.is_multiple_of(HOT) {
            0
        } else {
            number % self.webhooks
        };
        WebhookId(Uuid::from_u128(u128::from(place)))
    }

    /// From the first publish until the store has the last.
    async fn write(&self, count: u64, how: Attempted) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let before = self.store.recorded.load(Ordering::Relaxed);
        let permits = Arc::new(Semaphore::new(IN_FLIGHT));
        let mut tasks: JoinSet<anyhow::Result<()>> = JoinSet::new();
        let mut number = 0;
        while number < count {
            let group: Vec<_> = (number..count.min(number + GROUP as u64))
                .map(|one| self.attempt(one, how))
                .collect();
            number += group.len() as u64;
            let partition =
                u16::try_from(number / GROUP as u64 % u64::from(self.bus.partition_count()))?;
            let permit = Arc::clone(&permits).acquire_owned().await?;
            let bus = self.bus.clone();
            tasks.spawn(async move {
                bus.publish_results(partition, &group).await?;
                drop(permit);
                Ok(())
            });
            while let Some(done) = tasks.try_join_next() {
                done??;
            }
            while before + number > self.store.recorded.load(Ordering::Relaxed) + AHEAD {
                sleep(Duration::from_millis(5)).await;
            }
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        let all = async {
            while self.store.recorded.load(Ordering::Relaxed) < before + count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(WRITE_MAX, all)
            .await
            .context("the store did not take everything")?;
        Ok(began.elapsed())
    }

    fn attempt(&self, number: u64, how: Attempted) -> Attempt {
        let second = how == Attempted::AtTheSecond;
        let event = if second { number / 2 } else { number };
        let fails = second && number.is_multiple_of(2);
        // Two attempts of one event must have one time of publish.
        let now = Timestamp::from_system(SystemTime::now());
        let created_at = if second {
            Timestamp::from_millis(now.millis() / 60_000 * 60_000)
        } else {
            now
        };
        let webhook_id = self.webhook(event);
        let message_id = format!("{}{event}", if second { "T" } else { "M" })
            .parse()
            .expect("letters and digits");
        let tries = u16::from(second && !fails);
        Attempt {
            delivery: Delivery {
                event_id: EventId::derive(
                    created_at,
                    webhook_id,
                    "chat",
                    "sender",
                    &message_id,
                    &Kind::Text,
                ),
                webhook_id,
                client_id: client(),
                phone: "4915112345678".parse().expect("valid"),
                message_id,
                kind: Kind::Text,
                created_at,
                body: body(number).into(),
                attempt_count: tries,
                attempts_this_round: tries,
                priority: Priority::Normal,
                chat_key: None,
            },
            number: tries + 1,
            outcome: if fails { Outcome::Http5xx } else { Outcome::Ok },
            status: if fails {
                EventStatus::Pending
            } else {
                EventStatus::Delivered
            },
            http_status: Some(if fails { 500 } else { 200 }),
            response: Some("ok".to_owned()),
            error: fails.then(|| "the endpoint answered 500".to_owned()),
            started_at: now,
            latency_ms: 12,
            next_retry_at: fails.then(|| now.after(Duration::from_secs(5))),
        }
    }

    /// Statements that the CQL store took, over all tables.
    fn statements(&self) -> u64 {
        let text = self.metrics.render();
        let lines = text
            .lines()
            .filter(|line| line.starts_with("wahook_cql_statements_total{"));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
            .sum()
    }
}

fn client() -> ClientId {
    ClientId::try_from(1).expect("one is a client id")
}

/// As incompressible as texts of people: words differ from row to row.
fn body(number: u64) -> Vec<u8> {
    let mut text = String::from("{\"content\":\"");
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while text.len() < BODY_BYTES - 2 {
        // xorshift
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        text.push_str(&format!("{:x} ", state % 100_000));
    }
    text.push_str("\"}");
    text.into_bytes()
}
