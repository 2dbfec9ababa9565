//! wahook, a rival and the floor in one run: the same messages, endpoints, sink, and requests under
//! way; one system after the other, each fresh, so that the machine's other work falls on all of
//! them.
//!
//! `top`: as fast as it goes. `backlog`: all is published before anything delivers. `rate`: a rate
//! that all can sustain, with what each takes when nothing happens, and how long the audit is
//! behind. `half`: half of each one's own top rate. `hanging`: endpoints that never answer among
//! the others.

mod bullmq;
mod floor;
mod phases;
mod table;

pub(crate) use floor::send as send_floor;

use self::{
    bullmq::{Bullmq, Shape},
    floor::Floor,
    phases::{Phase, Shown},
    table::Table,
};
use crate::{lab::Lab, results::Results};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Messages of each run as fast as it goes, and of the backlog.
    #[arg(long, default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1_000..))]
    messages: u32,
    /// Endpoints they are spread over.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    endpoints: u32,
    /// How often all systems run as fast as they go.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// Messages per second that all can sustain.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Seconds of each run at a rate.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Of 100 endpoints, so many never answer in the last scenario.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=50))]
    hanging: u32,
    /// Requests under way at once, in every system.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=1_024))]
    in_flight: u32,
    /// The rival's sender processes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=8))]
    workers: u32,
    /// Leave out the rival as it is mostly written: one process, one commit per audit row.
    #[arg(long)]
    no_plain: bool,
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Wahook,
    Bullmq,
    /// The same, as it is mostly written.
    Plain,
    Floor,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Wahook => "wahook",
            Self::Bullmq => "bullmq",
            Self::Plain => "bullmq, plain",
            Self::Floor => "floor",
        }
    }

    async fn run(self, phase: &Phase, options: &Options) -> anyhow::Result<Shown> {
        let in_flight = options.in_flight;
        match self {
            Self::Wahook => {
                let settings = [("DELIVER__IN_FLIGHT_MAX", in_flight.to_string())];
                phase.run(Lab::prepare(&settings).await?).await
            }
            Self::Floor => phase.run(Floor::prepare(in_flight).await?).await,
            Self::Bullmq => {
                let shape = Shape {
                    workers: options.workers,
                    in_flight,
                    is_batched: true,
                };
                phase.run(Bullmq::prepare(shape).await?).await
            }
            Self::Plain => {
                phase
                    .run(
                        Bullmq::prepare(Shape {
                            workers: 1,
                            in_flight,
                            is_batched: false,
                        })
                        .await?,
                    )
                    .await
            }
        }
    }
}

/// All scenarios, one after the other.
pub(crate) async fn run(options: &Options, results: &mut Results) -> anyhow::Result<()> {
    let &Options {
        messages,
        endpoints,
        rounds,
        rate,
        seconds,
        hanging,
        ..
    } = options;
    let mut all = vec![Kind::Wahook, Kind::Bullmq, Kind::Floor];
    if !options.no_plain {
        all.push(Kind::Plain);
    }
    let mut table = Table::default();
    let top = Phase::Top {
        messages,
        endpoints,
    };
    for round in 0..rounds as usize {
        for turn in 0..all.len() {
            // Each is the first as often as the others.
            let kind = all[(round + turn) % all.len()];
            table.add(results, kind, kind.run(&top, options).await?);
        }
    }
    let backlog = Phase::Backlog {
        messages,
        endpoints,
    };
    for kind in all[..3].iter().copied() {
        table.add(results, kind, kind.run(&backlog, options).await?);
    }
    let at_rate = Phase::Rate {
        rate,
        seconds,
        endpoints,
    };
    for kind in all[..3].iter().copied() {
        table.add(results, kind, kind.run(&at_rate, options).await?);
        let half = Phase::Half {
            rate: (table.top(kind) / 2.0) as u32,
            seconds,
            endpoints,
        };
        table.add(results, kind, kind.run(&half, options).await?);
    }
    let hanging = Phase::Hanging {
        rate,
        seconds: 2 * seconds,
        hanging,
    };
    for kind in all[..2].iter().copied() {
        table.add(results, kind, kind.run(&hanging, options).await?);
    }
    results.say(table.to_string());
    results.figures(table.figures());
    Ok(())
}
