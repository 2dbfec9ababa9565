//! Load at a fixed rate while something is killed and started again.

use std::time::Duration;

use ledger::Fault;
use tokio::time::sleep;

use crate::{
    lab::{Lab, ROLES, publishing},
    load::Load,
    report::{Report, millis},
    results::Results,
    sink::now_micros,
    system::{Pace, System},
    usage::Watch,
};

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Victim {
    /// `nats-server`, which comes back at once the first time and after three seconds the second.
    Broker,
    /// wahook, started again at once.
    Sender,
}

#[derive(clap::Args)]
pub(crate) struct Options {
    /// What is killed, twice.
    #[arg(long, value_enum)]
    victim: Victim,
    /// Messages per second over 100 endpoints.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Seconds of the run.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(10..))]
    seconds: u32,
}

const AWAY: [Duration; 2] = [Duration::ZERO, Duration::from_secs(3)];

impl Options {
    pub(crate) fn new(victim: Victim) -> Self {
        Self {
            victim,
            rate: 500,
            seconds: 20,
        }
    }
}

pub(crate) async fn run(options: &Options, results: &mut Results) -> anyhow::Result<()> {
    let &Options {
        victim,
        rate,
        seconds,
    } = options;
    // Warnings are what a fault is expected to make.
    let mut lab = Lab::prepare(&[("LOG__FILTER", "error".to_owned())]).await?;
    lab.launch(ROLES).await?;
    let load = Load::new(rate * seconds, 100, Pace::Rate(rate));
    load.register(&lab).await?;
    let watch = Watch::start(lab.parts()?)?;
    let began = now_micros();
    let publishing = publishing(lab.bus.clone(), load.plan());
    let (sent, faults) = tokio::join!(
        publishing,
        strike(&mut lab, victim, Duration::from_secs(seconds.into()))
    );
    let sent = sent?;
    let faults = faults?;
    let seen = load.wait(&lab, 0, &sent).await?;
    let mut books = load.books(&sent, &seen);
    books.faults.clone_from(&faults);
    let report = Report::of(books, began, watch.end())?;
    lab.stop().await?;
    let name = match victim {
        Victim::Broker => "nats-server",
        Victim::Sender => "wahook",
    };
    results.keep("faults", name, &report);
    let back: Vec<String> = faults
        .iter()
        .map(|fault| format!("{:.2}", delivering_again(&report, fault)))
        .collect();
    results.say(format!(
        "{name} killed {} times at {rate} messages/s: accepted {} of {}, lost {}, twice {}; \
         delivering again {} s after its start, \
         all from before taken within {:.2} s; ack to POST p50 {:.2} ms, p99 {:.2} ms over the \
         whole run",
        faults.len(),
        report.published,
        report.offered,
        report.published - report.delivered,
        report.duplicates,
        back.join(" and "),
        report.recovery.as_secs_f64(),
        millis(&report.micros, 0.5),
        millis(&report.micros, 0.99),
    ));
    Ok(())
}

/// Kills at one third and two thirds of the time.
async fn strike(lab: &mut Lab, victim: Victim, over: Duration) -> anyhow::Result<Vec<Fault>> {
    let mut faults = Vec::new();
    for away in AWAY {
        sleep(over / 3).await;
        let at = now_micros();
        let until = match victim {
            Victim::Broker => {
                lab.nats.restart(away).await?;
                now_micros()
            }
            Victim::Sender => {
                lab.kill_nodes().await?;
                let until = now_micros();
                lab.launch(ROLES).await?;
                until
            }
        };
        faults.push(Fault { at, until });
    }
    Ok(faults)
}

/// Seconds from the start of the new process to the first delivery after it.
fn delivering_again(report: &Report, fault: &Fault) -> f64 {
    let after = report
        .sightings
        .iter()
        .map(|one| one.at)
        .filter(|at| *at > fault.until);
    after
        .min()
        .map_or(f64::NAN, |at| (at - fault.until) as f64 / 1e6)
}
