//! wahook under load, as whole processes: a `nats-server`, one or more `wahook serve`, a sink, and
//! this publisher.
//!
//! `throughput` publishes as fast as the stream takes it and prints deliveries per second, CPU per
//! delivery and what was lost or doubled. `latency` publishes at a fixed rate and prints the time
//! from publish ack to POST: the sending times are planned beforehand, so a slow system cannot slow
//! the load down and hide its delays.
//!
//! `isolation`, `dead-half` and `parked` run `latency` without and with something beside it (an
//! endpoint that never answers; half of all endpoints dead; a heap of parked retries), and once
//! more without, which shows what the machine's noise alone makes of the ratio. `replay` does the
//! same with a replay of dead letters to the same endpoints under way. `trouble` runs it over
//! endpoints of all manners, `faults` while something is killed, `soak` for long. `backlog` lets
//! messages wait and then out. `endpoints` and `fleet` ask what a delivery costs by the number of
//! endpoints and of processes. `store` takes results through the record role into a home of the
//! audit, and reads pages of it. `rivals` puts wahook beside the design that it replaces, and
//! beside the floor. `outage` takes the audit's home away for a while. `lab` runs the shorter ones
//! one after the other.
//!
//! All but `store` and `outage` leave a report, see `results`. What the figures mean:
//! `docs/benchmarks.md`.

mod backlog;
mod beside;
mod caller;
mod compare;
mod faults;
mod lab;
mod load;
mod outage;
mod plot;
#[path = "../../tests/it/support/ports.rs"]
mod ports;
mod process;
mod replay;
mod report;
mod results;
mod rivals;
mod scale;
mod sink;
mod soak;
mod stages;
mod store;
mod system;
mod trouble;
mod usage;
mod webhooks;

use clap::{Parser, Subcommand};

use crate::{
    beside::Rounds,
    faults::Victim,
    lab::Lab,
    load::Load,
    results::Results,
    system::{Pace, System},
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
    /// 99 healthy endpoints without, again without, and with a hanging one beside them.
    Isolation(Rounds),
    /// 50 healthy endpoints beside 50 others: healthy, again healthy, and dead (half refuse
    /// connections, half hang).
    DeadHalf(Rounds),
    /// 50 healthy endpoints without, again without, and with a heap of parked retries.
    Parked {
        #[command(flatten)]
        rounds: Rounds,
        /// Retries that are parked.
        #[arg(long, default_value_t = 100_000)]
        parked: u32,
    },
    /// 50 endpoints without, again without, and with a replay of dead letters to the same endpoints
    /// under way.
    Replay(replay::Options),
    /// Endpoints that hang, are slow, refuse, or answer 429.
    Trouble(trouble::Options),
    /// nats-server or wahook killed and started again.
    Faults(faults::Options),
    /// Messages that waited while nothing delivered.
    Backlog(backlog::Options),
    /// Ten minutes: does memory stay where it is?
    Soak(soak::Options),
    /// Cost per delivery and memory by the number of endpoints.
    Endpoints(scale::Sizes),
    /// Throughput and limits by the number of deliver processes.
    Fleet(scale::Fleets),
    /// Results through the record role into a home of the audit; then pages of it.
    Store(store::Options),
    /// The store away for minutes under load: deliveries meanwhile, what waits, how fast it is gone
    /// again.
    Outage(outage::Options),
    /// wahook beside the design that it replaces and the bare floor, in one run.
    Rivals(rivals::Options),
    /// One and 1 000 endpoints, trouble, faults, and a backlog: about five minutes.
    Lab,
    /// The floor's sender, in a process of its own; started by `rivals`.
    #[command(hide = true)]
    Floor {
        nats: String,
        sink_port: u16,
        in_flight: usize,
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

impl Scenario {
    fn name(&self) -> &'static str {
        match self {
            Self::Throughput(_) => "throughput",
            Self::Latency { .. } => "latency",
            Self::Isolation(_) => "isolation",
            Self::DeadHalf(_) => "dead-half",
            Self::Parked { .. } => "parked",
            Self::Replay(_) => "replay",
            Self::Trouble(_) => "trouble",
            Self::Faults(_) => "faults",
            Self::Backlog(_) => "backlog",
            Self::Soak(_) => "soak",
            Self::Endpoints(_) => "endpoints",
            Self::Fleet(_) => "fleet",
            Self::Store(_) => "store",
            Self::Outage(_) => "outage",
            Self::Rivals(_) => "rivals",
            Self::Lab => "lab",
            Self::Floor { .. } => "floor",
            Self::Sink => "sink",
        }
    }

    async fn run(&self, results: &mut Results) -> anyhow::Result<()> {
        match self {
            Self::Throughput(size) => once(size, Pace::Flat, results).await,
            Self::Latency { size, rate } => once(size, Pace::Rate(*rate), results).await,
            Self::Isolation(rounds) => beside::isolation(rounds, results).await,
            Self::DeadHalf(rounds) => beside::dead_half(rounds, results).await,
            Self::Parked { rounds, parked } => beside::parked(rounds, *parked, results).await,
            Self::Replay(options) => replay::run(options, results).await,
            Self::Trouble(options) => trouble::run(options, results).await,
            Self::Faults(options) => faults::run(options, results).await,
            Self::Backlog(options) => backlog::run(options, results).await,
            Self::Soak(options) => soak::run(options, results).await,
            Self::Endpoints(options) => scale::endpoints(options, results).await,
            Self::Fleet(options) => scale::fleet(options, results).await,
            Self::Store(options) => store::run(options).await,
            Self::Outage(options) => outage::run(options).await,
            Self::Rivals(options) => rivals::run(options, results).await,
            Self::Lab => all(results).await,
            Self::Floor {
                nats,
                sink_port,
                in_flight,
            } => rivals::send_floor(nats, *sink_port, *in_flight).await,
            Self::Sink => sink::run().await,
        }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let scenario = Cli::parse().scenario;
    let mut results = Results::new(scenario.name());
    scenario.run(&mut results).await?;
    results.write()
}

async fn once(size: &Size, pace: Pace, results: &mut Results) -> anyhow::Result<()> {
    let &Size {
        messages,
        endpoints,
    } = size;
    let lab = Lab::start().await?;
    let report = Load::new(messages, endpoints, pace).run(&lab).await?;
    lab.stop().await?;
    let (group, at) = match pace {
        Pace::Flat => ("throughput", "as fast as it goes".to_owned()),
        Pace::Rate(rate) => ("latency", format!("{rate}/s")),
    };
    results.keep(group, &format!("{endpoints} endpoints"), &report);
    results.say(format!(
        "{messages} messages over {endpoints} endpoints, {at}\n{report}"
    ));
    Ok(())
}

/// The scenarios a load lab for webhooks should have, each short.
async fn all(results: &mut Results) -> anyhow::Result<()> {
    for endpoints in [1, 1_000] {
        once(
            &Size {
                messages: 20_000,
                endpoints,
            },
            Pace::Flat,
            results,
        )
        .await?;
        once(
            &Size {
                messages: 7_500,
                endpoints,
            },
            Pace::Rate(500),
            results,
        )
        .await?;
    }
    trouble::run(
        &trouble::Options {
            rate: 500,
            seconds: 12,
            endpoints: 100,
        },
        results,
    )
    .await?;
    for victim in [Victim::Broker, Victim::Sender] {
        faults::run(&faults::Options::new(victim), results).await?;
    }
    backlog::run(
        &backlog::Options {
            messages: 100_000,
            top: 30_000,
            endpoints: 100,
        },
        results,
    )
    .await
}
