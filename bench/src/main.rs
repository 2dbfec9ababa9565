//! wahook under load, as whole processes: a `nats-server`, one or more `wahook serve`, a sink, and this publisher.
//!
//! `throughput` publishes as fast as the stream takes it and prints deliveries per second, CPU per delivery and what
//! was lost or doubled. `latency` publishes at a fixed rate and prints the time from publish ack to POST: the sending
//! times are planned beforehand, so a slow system cannot slow the load down and hide its delays.
//!
//! `isolation`, `dead-half` and `parked` run `latency` without and with something beside it (an endpoint that never
//! answers; half of all endpoints dead; a heap of parked retries), and once more without, which shows what the machine's
//! noise alone makes of the ratio. `replay` does the same with a replay of dead letters to the same endpoints under way.
//! `endpoints` and `fleet` ask what a delivery costs by the number of endpoints and of processes. `store` takes results
//! through the record role into a home of the audit, and reads pages of it; `outage` takes the home away for a while.

mod compare;
mod lab;
mod load;
mod outage;
mod replay;
mod report;
mod scale;
mod sink;
mod store;
mod webhooks;

use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::{
    lab::Lab,
    load::{Load, Other, Pace},
    report::Report,
    webhooks::{Manner, UNLIMITED},
};

/// When parked retries are due: after the run.
const PARKED_FOR: Duration = Duration::from_secs(3_600);

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
    /// 99 healthy endpoints without, again without, and with a hanging one beside them.
    Isolation(Rounds),
    /// 50 healthy endpoints beside 50 others: healthy, again healthy, and dead (half refuse connections, half hang).
    DeadHalf(Rounds),
    /// 50 healthy endpoints without, again without, and with a heap of parked retries.
    Parked {
        #[command(flatten)]
        rounds: Rounds,
        /// Retries that are parked.
        #[arg(long, default_value_t = 100_000)]
        parked: u32,
    },
    /// Results through the record role into a home of the audit; then pages of it.
    Store(store::Options),
    /// The store away for minutes under load: deliveries meanwhile, what waits, how fast it is gone again.
    Outage(outage::Options),
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
    /// Cost per delivery and memory by the number of endpoints.
    Endpoints {
        /// Endpoints of each run; the first is what the others are compared with.
        #[arg(long, value_delimiter = ',', default_value = "100,10000,100000", value_parser = clap::value_parser!(u32).range(1..))]
        sizes: Vec<u32>,
        /// Messages of each run, spread over its endpoints.
        #[arg(long, default_value_t = 100_000)]
        messages: u32,
        /// How often all are run.
        #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
        rounds: u32,
    },
    /// Throughput and limits by the number of deliver processes.
    Fleet {
        /// Deliver processes of each run; the first is what the others are compared with.
        #[arg(long, value_delimiter = ',', default_value = "1,2,4", value_parser = clap::value_parser!(u32).range(1..))]
        nodes: Vec<u32>,
        /// Messages as fast as it goes.
        #[arg(long, default_value_t = 20_000)]
        messages: u32,
        /// Seconds of the run that measures limits.
        #[arg(long, default_value_t = 20)]
        seconds: u32,
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

#[derive(clap::Args)]
struct Rounds {
    /// Messages per second over the healthy endpoints.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Seconds of each run.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// How often all three are run.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// Endpoints whose latency is compared.
const HEALTHY: u32 = 50;
/// The same where one of a hundred hangs.
const ALL_BUT_ONE: u32 = 99;

impl Rounds {
    /// The load, with these endpoints beside the healthy ones; each gets as much as each of those.
    fn load(&self, endpoints: u32, others: impl IntoIterator<Item = Manner>) -> Load {
        let offered = f64::from(self.rate) / f64::from(endpoints);
        let others = others.into_iter().map(|manner| Other { manner, offered, rate_per_second: UNLIMITED }).collect();
        Load { messages: self.rate * self.seconds, endpoints, pace: Pace::Rate(self.rate), others }
    }

    /// A run in a lab of its own: a later one must not find warm connections that the first one had not.
    async fn run(&self, endpoints: u32, others: impl IntoIterator<Item = Manner>) -> anyhow::Result<Report> {
        let lab = Lab::start().await?;
        let report = self.load(endpoints, others).run(&lab).await?;
        lab.stop().await?;
        Ok(report)
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Cli::parse().scenario {
        Scenario::Sink => sink::run().await,
        Scenario::Throughput(size) => once(size, Pace::Flat).await,
        Scenario::Latency { size, rate } => once(size, Pace::Rate(rate)).await,
        Scenario::Isolation(rounds) => {
            let run = async |hanging: bool| rounds.run(ALL_BUT_ONE, hanging.then_some(Manner::Hang)).await;
            compare::alternate(rounds.rounds, run).await
        }
        Scenario::DeadHalf(rounds) => {
            let run = async |dead: bool| {
                let manner = |number| match (dead, number % 2) {
                    (false, _) => Manner::Ok,
                    (true, 0) => Manner::Refuse,
                    (true, _) => Manner::Hang,
                };
                rounds.run(HEALTHY, (0..HEALTHY).map(manner)).await
            };
            compare::alternate(rounds.rounds, run).await
        }
        Scenario::Parked { rounds, parked } => {
            let run = async |heap: bool| {
                let (lab, load) = (Lab::start().await?, rounds.load(HEALTHY, []));
                load.register(&lab).await?;
                if heap {
                    webhooks::park(&lab, 0, parked, PARKED_FOR).await?;
                }
                let report = load.measure(&lab).await?;
                lab.stop().await?;
                Ok(report)
            };
            compare::alternate(rounds.rounds, run).await
        }
        Scenario::Store(options) => store::run(&options).await,
        Scenario::Outage(options) => outage::run(&options).await,
        Scenario::Replay { rate, dead_letters, replay_rate, rounds } => {
            replay::run(rate, dead_letters, replay_rate, rounds).await
        }
        Scenario::Endpoints { sizes, messages, rounds } => scale::endpoints(&sizes, messages, rounds).await,
        Scenario::Fleet { nodes, messages, seconds } => scale::fleet(&nodes, messages, seconds).await,
    }
}

async fn once(size: Size, pace: Pace) -> anyhow::Result<()> {
    let lab = Lab::start().await?;
    let load = Load { messages: size.messages, endpoints: size.endpoints, pace, others: Vec::new() };
    println!("{}", load.run(&lab).await?);
    lab.stop().await
}
