//! wahook under load, as whole processes: a `nats-server`, a `wahook serve`, a sink, and this publisher.
//!
//! `throughput` publishes as fast as the stream takes it and prints deliveries per second, CPU per delivery and what
//! was lost or doubled. `latency` publishes at a fixed rate and prints the time from publish ack to POST: the sending
//! times are planned beforehand, so a slow system cannot slow the load down and hide its delays. `isolation` runs
//! `latency` over the same healthy endpoints without and with one beside them that never answers, and once more
//! without, which shows what the machine's noise alone makes of the ratio. `replay` does the same with a replay of dead
//! letters to the same endpoints under way. `store` takes results through the record role into a home of the audit, and
//! reads pages of it.

mod lab;
mod load;
mod replay;
mod report;
mod sink;
mod store;

use clap::{Parser, Subcommand};

use crate::{
    lab::Lab,
    load::{Load, Pace},
};

#[derive(Parser)]
#[command(about = "Load lab for wahook")]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// As fast as it goes.
    Throughput(Size),
    /// At a fixed rate.
    Latency {
        #[command(flatten)]
        size: Size,
        /// Messages per second over all endpoints.
        #[arg(long, default_value_t = 500)]
        rate: u32,
    },
    /// 50 healthy endpoints without, again without, and with a hanging one beside them.
    Isolation {
        /// Messages per second over the healthy endpoints.
        #[arg(long, default_value_t = 500)]
        rate: u32,
        /// Seconds of each run.
        #[arg(long, default_value_t = 20)]
        seconds: u32,
        /// How often all three are run.
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Results through the record role into a home of the audit; then pages of it.
    Store(store::Options),
    /// 50 endpoints without, again without, and with a replay of dead letters to the same endpoints under way.
    Replay {
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
    },
    /// The endpoints, in a process of their own; started by the other scenarios.
    #[command(hide = true)]
    Sink,
}

#[derive(clap::Args)]
struct Size {
    /// Messages to publish.
    #[arg(long, default_value_t = 20_000)]
    messages: u32,
    /// Endpoints they are spread over.
    #[arg(long, default_value_t = 100)]
    endpoints: u32,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().scenario {
        Scenario::Sink => sink::run().await,
        Scenario::Throughput(size) => {
            let lab = Lab::start().await?;
            let load = Load { messages: size.messages, endpoints: size.endpoints, pace: Pace::Flat, hanging: false };
            println!("{}", load.run(&lab).await?);
            lab.stop().await
        }
        Scenario::Latency { size, rate } => {
            let lab = Lab::start().await?;
            let pace = Pace::Rate(rate);
            let load = Load { messages: size.messages, endpoints: size.endpoints, pace, hanging: false };
            println!("{}", load.run(&lab).await?);
            lab.stop().await
        }
        Scenario::Store(options) => store::run(&options).await,
        Scenario::Isolation { rate, seconds, rounds } => isolation(rate, seconds, rounds).await,
        Scenario::Replay { rate, dead_letters, replay_rate, rounds } => {
            replay::run(rate, dead_letters, replay_rate, rounds).await
        }
    }
}

/// What is compared, by whether an endpoint hangs: without, again without, with.
const ARMS: [bool; 3] = [false, false, true];

async fn isolation(rate: u32, seconds: u32, rounds: u32) -> anyhow::Result<()> {
    let mut pooled = ARMS.map(|_| None);
    for round in 0..rounds as usize {
        let mut p99 = [0.0; ARMS.len()];
        for turn in 0..ARMS.len() {
            // Each arm is the first as often as the others, since other work on the machine comes and goes.
            let arm = (round + turn) % ARMS.len();
            // A lab each: a later run must not find warm connections that the first one had not.
            let lab = Lab::start().await?;
            let load = Load { messages: rate * seconds, endpoints: 50, pace: Pace::Rate(rate), hanging: ARMS[arm] };
            let report = load.run(&lab).await?;
            lab.stop().await?;
            anyhow::ensure!(report.delivered == report.published, "not all healthy messages came:\n{report}");
            p99[arm] = report.latency(0.99).as_secs_f64() * 1e3;
            match &mut pooled[arm] {
                none @ None => *none = Some(report.micros),
                Some(all) => all.add(report.micros)?,
            }
        }
        let [without, again, with] = p99;
        println!("round {}: p99 {without:.2} ms without, {again:.2} ms again without, {with:.2} ms with", round + 1);
    }
    let [without, again, with] = pooled.map(|all| all.map_or(f64::NAN, |all| all.value_at_quantile(0.99) as f64 / 1e3));
    println!("all rounds together: p99 {without:.2} ms without, {again:.2} ms again without, {with:.2} ms with");
    println!("ratio with / without {:.2}; noise, again without / without {:.2}", with / without, again / without);
    Ok(())
}
