//! The store goes away for minutes while deliveries go on, and comes back: is anything slower
//! meanwhile, how much waits, how long until all is on record, and is it there once?
//!
//! Cassandra goes away behind a gate that cuts and refuses connections; SQLite by another
//! connection's lock on its file.

use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use async_nats::jetstream;
use hdrhistogram::Histogram;
use tokio::{
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use wahook::{
    config::{Config, Sources},
    model::{EventFilter, EventStatus},
    store::{self, Migrator},
    tasks::Tasks,
};

use crate::{
    lab::{Lab, ROLES, publishing_until},
    load::seen,
    sink::now_micros,
    store::Cassandra,
    system::{Pace, Plan, System},
    webhooks::{self, Endpoint, Manner, UNLIMITED, client},
};

/// Before the store goes away, and after all is on record again.
const AROUND: Duration = Duration::from_secs(20);
/// Until a backlog must be gone, and everything read back.
const PATIENCE: Duration = Duration::from_secs(600);
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
    let mut trouble =
        Trouble::prepare(&options.kind, data.path().join("hooks.db"), data.path()).await?;
    let mut lab = Lab::prepare(&trouble.settings()).await?;
    lab.launch(ROLES).await?;
    let endpoint = |number| Endpoint {
        number,
        manner: Manner::Ok,
        rate_per_second: UNLIMITED,
    };
    webhooks::register(
        &lab.bus,
        lab.sink.port,
        (0..options.endpoints).map(endpoint),
    )
    .await?;
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
    let began = Instant::now();
    let mut usual = 16;
    while began.elapsed() < AROUND {
        usual = usual.max(results.waiting().await?.0);
        sleep(POLL).await;
    }
    trouble.begin().await?;
    let down = Instant::now();
    let at_down = now_micros();
    let mut most = (0, 0);
    while down.elapsed() < Duration::from_secs_f64(options.minutes * 60.0) {
        most = most.max(results.waiting().await?);
        sleep(Duration::from_secs(1)).await;
    }
    trouble.end().await?;
    let away = down.elapsed();
    let back = Instant::now();
    let at_back = now_micros();
    let drained = async {
        while results.waiting().await?.0 > usual {
            sleep(POLL).await;
        }
        anyhow::Ok(back.elapsed())
    };
    let drained = timeout(PATIENCE, drained)
        .await
        .context("the backlog is still there")??;
    let at_drained = now_micros();
    sleep(AROUND).await;
    stop.cancel();
    let acked = publisher.await??.into_iter().map(|one| one.acked);
    let sent: Option<Vec<(u32, u64)>> = (0..)
        .zip(acked)
        .map(|(number, acked)| Some((number, acked?)))
        .collect();
    let sent = sent.context("a publish was not acknowledged")?;

    let began = Instant::now();
    while results.waiting().await?.0 > 0 && began.elapsed() < Duration::from_secs(30) {
        sleep(POLL).await;
    }
    let posts = posts(&lab).await?;
    let lines = [
        ("before", 0, at_down),
        ("away", at_down, at_back),
        ("draining, after", at_back, u64::MAX),
    ];
    println!(
        "{}: away for {:.0} s at {} messages/s",
        options.kind,
        away.as_secs_f64(),
        options.rate
    );
    for (name, from, until) in lines {
        println!("  {name:16} {}", latencies(&sent, &posts, from, until)?);
    }
    let missed = sent
        .iter()
        .filter(|one| one.1 >= at_down && one.1 < at_back)
        .count() as f64;
    let live = sent
        .iter()
        .filter(|one| one.1 >= at_back && one.1 < at_drained)
        .count() as f64;
    let rate = (missed + live) / drained.as_secs_f64();
    println!(
        "  waiting at most          {:>8} groups, {:.1} MiB",
        most.0,
        most.1 as f64 / MIB
    );
    println!("  attempts that waited     {missed:>8.0}");
    println!(
        "  drained after            {:>8.1} s",
        drained.as_secs_f64()
    );
    println!(
        "  … attempts/s meanwhile   {rate:>8.0}, {:.1} times the live rate",
        rate / f64::from(options.rate)
    );
    let doubled = posts.values().filter(|times| times.len() > 1).count();
    println!(
        "  messages                 {:>8}, {doubled} posted twice",
        sent.len()
    );
    let recorded = recorded(&lab, &trouble.config()?).await?;
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
    lab.stop().await?;
    trouble.stop().await?;
    ensure!(
        missing == 0 && doubled == 0 && odd == 0,
        "something was lost, or came twice"
    );
    Ok(())
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

/// What makes the store fail.
enum Trouble {
    Cql {
        node: Cassandra,
        gate: Gate,
    },
    Sqlite {
        file: PathBuf,
        lock: Option<rusqlite::Connection>,
    },
}

impl Trouble {
    async fn prepare(kind: &str, file: PathBuf, data: &std::path::Path) -> anyhow::Result<Self> {
        if kind == "sqlite" {
            return Ok(Self::Sqlite { file, lock: None });
        }
        let node = Cassandra::start(data).await?;
        let mut gate = Gate::before(node.port)?;
        gate.open().await?;
        let trouble = Self::Cql { node, gate };
        let config = trouble.config()?;
        let migrator = Migrator::connect(&config.cql, config.store.retention).await?;
        for step in migrator.plan(Some(1)).await? {
            migrator.apply(&step).await?;
        }
        Ok(trouble)
    }

    /// What leads to the store through this.
    fn settings(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Cql { gate, .. } => {
                vec![
                    ("STORE__KIND", "cql".to_owned()),
                    ("CQL__NODES", format!("127.0.0.1:{}", gate.port)),
                ]
            }
            Self::Sqlite { file, .. } => vec![("STORE__PATH", file.display().to_string())],
        }
    }

    fn config(&self) -> anyhow::Result<Config> {
        let env = self
            .settings()
            .into_iter()
            .map(|(key, value)| (format!("WAHOOK__{key}"), value))
            .collect();
        Ok(Config::load(&Sources {
            env,
            ..Sources::default()
        })?)
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Cql { gate, .. } => gate.shut().await,
            Self::Sqlite { file, lock } => {
                let connection = rusqlite::Connection::open(file)?;
                connection.busy_timeout(Duration::from_secs(10))?;
                connection.execute_batch("BEGIN IMMEDIATE")?;
                *lock = Some(connection);
            }
        }
        Ok(())
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Cql { gate, .. } => gate.open().await?,
            // Closing it rolls back.
            Self::Sqlite { lock, .. } => *lock = None,
        }
        Ok(())
    }

    async fn stop(self) -> anyhow::Result<()> {
        if let Self::Cql { node, .. } = self {
            node.stop().await?;
        }
        Ok(())
    }
}

/// Passes connections on while it is open; refuses them, and cuts those that there are, while it is
/// shut.
struct Gate {
    port: u16,
    to: u16,
    running: Option<JoinHandle<()>>,
}

impl Gate {
    fn before(to: u16) -> anyhow::Result<Self> {
        Ok(Self {
            port: crate::process::free_port()?,
            to,
            running: None,
        })
    }

    async fn open(&mut self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(("127.0.0.1", self.port)).await?;
        let to = self.to;
        self.running = Some(tokio::spawn(async move {
            // Dropped with this task, and all connections with it.
            let mut connections = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                connections.spawn(async move {
                    let mut node = TcpStream::connect(("127.0.0.1", to)).await?;
                    client.set_nodelay(true)?;
                    node.set_nodelay(true)?;
                    tokio::io::copy_bidirectional(&mut client, &mut node).await
                });
            }
        }));
        Ok(())
    }

    async fn shut(&mut self) {
        if let Some(running) = self.running.take() {
            running.abort();
            let _ = running.await;
        }
    }
}
