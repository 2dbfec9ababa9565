//! What a delivery costs by how many endpoints there are, and by how many processes deliver.

use std::{
    fmt,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use crate::{
    lab::{Lab, ROLES},
    load::{Load, Other},
    report::{Report, mebibytes},
    results::Results,
    system::{Pace, System},
    webhooks::{Manner, Mix},
};

/// How long a fleet gets to share its partitions out.
const SHARING: Duration = Duration::from_secs(12);
/// The limit of the endpoint that a fleet's limits are measured at, and the default burst.
const LIMIT: u32 = 50;
/// Requests that a node has under way at most, where its capacity and not the processors' is
/// measured.
const PLACES: u32 = 64;
/// What such a node can deliver per second to endpoints that take 200 ms.
const CAPACITY: u32 = PLACES * 5;

struct Size {
    report: Report,
    /// Registering all.
    registering: Duration,
    /// From the start of the process until it is ready, all webhooks loaded.
    starting: Duration,
    /// Resident memory then.
    idle_bytes: u64,
}

#[derive(clap::Args)]
pub(crate) struct Sizes {
    /// Endpoints of each run; the first is what the others are compared with.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "100,10000,100000",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    sizes: Vec<u32>,
    /// Messages of each run, spread over its endpoints.
    #[arg(long, default_value_t = 100_000)]
    messages: u32,
    /// How often all are run.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

#[derive(clap::Args)]
pub(crate) struct Fleets {
    /// Deliver processes of each run; the first is what the others are compared with.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,2,4",
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    nodes: Vec<u32>,
    /// Messages as fast as it goes.
    #[arg(long, default_value_t = 20_000)]
    messages: u32,
    /// Seconds of the runs at a fixed rate.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
}

/// Cost per delivery over so many endpoints each; the first is the base, and is measured twice for
/// the noise.
pub(crate) async fn endpoints(options: &Sizes, results: &mut Results) -> anyhow::Result<()> {
    let &Sizes {
        ref sizes,
        messages,
        rounds,
    } = options;
    anyhow::ensure!(!sizes.is_empty(), "no sizes");
    let arms = [&sizes[..1], &sizes[..]].concat();
    let mut all: Vec<Vec<Size>> = arms.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds as usize {
        for turn in 0..arms.len() {
            let arm = (round + turn) % arms.len();
            let size = size(arms[arm], messages).await?;
            results.say(format!(
                "round {}: {:>6} endpoints: {size}",
                round + 1,
                arms[arm]
            ));
            let label = format!("{} endpoints", arms[arm]);
            results.keep("endpoints", &label, &size.report);
            all[arm].push(size);
        }
    }
    ratios(options, &arms, &all, results);
    Ok(())
}

/// What each number of endpoints costs, as a ratio to the first of `arms`.
fn ratios(options: &Sizes, arms: &[u32], all: &[Vec<Size>], results: &mut Results) {
    let messages = options.messages;
    let base = arms[0];
    let mean = |arm: usize, of: &dyn Fn(&Size) -> f64| {
        all[arm].iter().map(of).sum::<f64>() / all[arm].len() as f64
    };
    let cpu = |arm| mean(arm, &|size| size.report.cpu_each());
    let rate = |arm| mean(arm, &|size| size.report.rate());
    results.say(format!(
        "all rounds together, each as a ratio to {base} endpoints (first run of each round):"
    ));
    for (arm, endpoints) in arms.iter().enumerate() {
        let what = if arm == 0 {
            "base"
        } else if *endpoints == base {
            "noise"
        } else {
            ""
        };
        results.say(format!(
            "{endpoints:>8} endpoints: CPU per delivery {:.0} µs ({:.2}), deliveries/s {:.0} \
             ({:.2}) {what}",
            cpu(arm),
            cpu(arm) / cpu(0),
            rate(arm),
            rate(arm) / rate(0),
        ));
        let more = f64::from(endpoints.saturating_sub(base));
        if more > 0.0 {
            let idle =
                mean(arm, &|size| size.idle_bytes as f64) - mean(0, &|size| size.idle_bytes as f64);
            let used = mean(arm, &|size| size.report.rss_bytes() as f64)
                - mean(0, &|size| size.report.rss_bytes() as f64);
            results.say(format!(
                "{:>8} memory per known endpoint {:.0} bytes, after {messages} deliveries to them \
                 {:.0} bytes",
                "",
                idle / more,
                used / more,
            ));
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let report = &self.report;
        write!(
            f,
            "{:>5.0} deliveries/s, {:>4.0} µs CPU each, lost {}, twice {}; registered in {:.1} s, \
             ready in {:.2} s with {:.1} MiB, {:.1} MiB at the end",
            report.rate(),
            report.cpu_each(),
            report.published - report.delivered,
            report.duplicates,
            self.registering.as_secs_f64(),
            self.starting.as_secs_f64(),
            mebibytes(self.idle_bytes),
            mebibytes(report.rss_bytes()),
        )
    }
}

async fn size(endpoints: u32, messages: u32) -> anyhow::Result<Size> {
    let mut lab = Lab::prepare(&[]).await?;
    let load = Load::new(messages, endpoints, Pace::Flat);
    let began = Instant::now();
    load.register(&lab).await?;
    let registering = began.elapsed();
    let began = Instant::now();
    lab.launch(ROLES).await?;
    let starting = began.elapsed();
    let idle_bytes = lab.rss_bytes()?;
    let report = load.measure(&lab).await?;
    lab.stop().await?;
    Ok(Size {
        report,
        registering,
        starting,
        idle_bytes,
    })
}

/// Throughput, what nodes add up to, and an endpoint's limit with so many deliver processes each.
pub(crate) async fn fleet(options: &Fleets, results: &mut Results) -> anyhow::Result<()> {
    let &Fleets {
        ref nodes,
        messages,
        seconds,
    } = options;
    let mut first: Option<f64> = None;
    for nodes in nodes {
        let load = Load::new(messages, 100, Pace::Flat);
        let report = shared(&load, *nodes, &[]).await?;
        results.keep("fleet", &format!("{nodes} processes"), &report);
        let base = *first.get_or_insert(report.rate());
        results.say(format!(
            "{nodes} deliver processes, as fast as it goes; {:.2} of the first\n{report}",
            report.rate() / base
        ));

        // The processors are shared by all: how nodes add up shows where they wait.
        let rate = CAPACITY * nodes * 3 / 4;
        let load = Load {
            mix: Mix::All(Manner::Slow),
            ..Load::new(rate * seconds, 400, Pace::Rate(rate))
        };
        let report = shared(
            &load,
            *nodes,
            &[("DELIVER__IN_FLIGHT_MAX", PLACES.to_string())],
        )
        .await?;
        results.say(format!(
            "{nodes} deliver processes of {PLACES} places each, endpoints that take 200 ms, \
             {rate}/s (three quarters of what that makes): \
             {:.0} deliveries/s, ack to POST p50 {:.2} ms, p99 {:.2} ms, lost {}, twice {}",
            report.rate(),
            report.latency(0.5).as_secs_f64() * 1e3,
            report.latency(0.99).as_secs_f64() * 1e3,
            report.published - report.delivered,
            report.duplicates,
        ));

        limits(*nodes, seconds, results).await?;
    }
    Ok(())
}

/// Whether endpoints keep their limits over so many deliver processes.
async fn limits(nodes: u32, seconds: u32, results: &mut Results) -> anyhow::Result<()> {
    let limited = Other {
        manner: Manner::Ok,
        offered: f64::from(LIMIT) * 1.5,
        rate_per_second: LIMIT,
    };
    let load = Load {
        others: vec![limited; 4],
        ..Load::new(500 * seconds, 50, Pace::Rate(500))
    };
    let report = shared(&load, nodes, &[]).await?;
    let most = (load.endpoints..)
        .take(load.others.len())
        .map(|endpoint| report.most_per_second(endpoint))
        .max();
    results.say(format!(
        "{nodes} deliver processes, four endpoints limited to {LIMIT}/s (burst {LIMIT}) and \
         offered half as much again: at most {} in any second; \
         p99 of the others {:.2} ms",
        most.unwrap_or(0),
        report.latency(0.99).as_secs_f64() * 1e3,
    ));
    Ok(())
}

/// A run over so many deliver processes, once they have shared the partitions out.
async fn shared(load: &Load, nodes: u32, settings: &[(&str, String)]) -> anyhow::Result<Report> {
    let mut lab = Lab::prepare(settings).await?;
    lab.launch("record").await?;
    for _ in 0..nodes {
        lab.launch("deliver").await?;
    }
    load.register(&lab).await?;
    sleep(SHARING).await;
    let report = load.measure(&lab).await?;
    lab.stop().await?;
    Ok(report)
}
