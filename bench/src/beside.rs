//! Healthy endpoints without and with something beside them.

use std::time::Duration;

use crate::{
    compare,
    lab::Lab,
    load::{Load, Other},
    report::Report,
    results::Results,
    system::{Pace, System},
    webhooks::{self, Manner, UNLIMITED},
};

/// When parked retries are due: after the run.
const PARKED_FOR: Duration = Duration::from_secs(3_600);
/// Endpoints whose latency is compared.
const HEALTHY: u32 = 50;
/// The same where one of a hundred hangs.
const ALL_BUT_ONE: u32 = 99;

#[derive(clap::Args)]
pub(crate) struct Rounds {
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

impl Rounds {
    /// The load, with these endpoints beside the healthy ones; each gets as much as each of those.
    fn load(&self, endpoints: u32, others: impl IntoIterator<Item = Manner>) -> Load {
        let offered = f64::from(self.rate) / f64::from(endpoints);
        let others = others
            .into_iter()
            .map(|manner| Other {
                manner,
                offered,
                rate_per_second: UNLIMITED,
            })
            .collect();
        Load {
            others,
            ..Load::new(self.rate * self.seconds, endpoints, Pace::Rate(self.rate))
        }
    }

    /// A run in a lab of its own: a later one must not find warm connections that the first one had
    /// not.
    async fn run(
        &self,
        endpoints: u32,
        others: impl IntoIterator<Item = Manner>,
    ) -> anyhow::Result<Report> {
        let lab = Lab::start().await?;
        let report = self.load(endpoints, others).run(&lab).await?;
        lab.stop().await?;
        Ok(report)
    }
}

/// An endpoint that never answers.
pub(crate) async fn isolation(rounds: &Rounds, results: &mut Results) -> anyhow::Result<()> {
    let run = async |hanging: bool| {
        rounds
            .run(ALL_BUT_ONE, hanging.then_some(Manner::Hang))
            .await
    };
    compare::alternate(results, rounds.rounds, run).await
}

/// As many endpoints again: well, or half of them refusing connections and half hanging.
pub(crate) async fn dead_half(rounds: &Rounds, results: &mut Results) -> anyhow::Result<()> {
    let run = async |dead: bool| {
        let manner = |number| match (dead, number % 2) {
            (false, _) => Manner::Ok,
            (true, 0) => Manner::Refuse,
            (true, _) => Manner::Hang,
        };
        rounds.run(HEALTHY, (0..HEALTHY).map(manner)).await
    };
    compare::alternate(results, rounds.rounds, run).await
}

/// A heap of so many parked retries.
pub(crate) async fn parked(
    rounds: &Rounds,
    parked: u32,
    results: &mut Results,
) -> anyhow::Result<()> {
    let run = async |heap: bool| {
        let lab = Lab::start().await?;
        let load = rounds.load(HEALTHY, []);
        load.register(&lab).await?;
        if heap {
            webhooks::park(&lab.bus, 0, parked, PARKED_FOR).await?;
        }
        let report = load.measure(&lab).await?;
        lab.stop().await?;
        Ok(report)
    };
    compare::alternate(results, rounds.rounds, run).await
}
