//! wahook under load, as whole processes: a `nats-server`, a `wahook serve`, a sink, and this publisher.
//!
//! `throughput` publishes as fast as the stream takes it and prints deliveries per second, CPU per delivery and what
//! was lost or doubled. `latency` publishes at a fixed rate and prints the time from publish ack to POST: the sending
//! times are planned beforehand, so a slow system cannot slow the load down and hide its delays. `isolation` runs
//! `latency` twice over the same healthy endpoints, the second time beside one that never answers.

mod lab;
mod load;
mod report;
mod sink;

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
    /// 50 healthy endpoints without and with a hanging one beside them.
    Isolation {
        /// Messages per second over the healthy endpoints.
        #[arg(long, default_value_t = 500)]
        rate: u32,
        /// Seconds of each run.
        #[arg(long, default_value_t = 20)]
        seconds: u32,
        /// How often both are run.
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
        Scenario::Isolation { rate, seconds, rounds } => {
            // In turn, and the median of each, since other work on the machine comes and goes.
            let mut p99 = [const { Vec::new() }; 2];
            for round in 1..=rounds {
                for hanging in [false, true] {
                    // A lab each: the second run must not find warm connections that the first one had not.
                    let lab = Lab::start().await?;
                    let load = Load { messages: rate * seconds, endpoints: 50, pace: Pace::Rate(rate), hanging };
                    let report = load.run(&lab).await?;
                    let word = if hanging { "with" } else { "without" };
                    println!("round {round}, {word} a hanging endpoint beside them:\n{report}");
                    p99[usize::from(hanging)].push(report.latency(0.99));
                    lab.stop().await?;
                }
            }
            let [without, with] = p99.map(|mut all| {
                all.sort();
                all[all.len() / 2].as_secs_f64() * 1e3
            });
            println!(
                "p99 of the healthy endpoints, median: {without:.2} ms without, {with:.2} ms with: {:.2}",
                with / without
            );
            Ok(())
        }
    }
}
