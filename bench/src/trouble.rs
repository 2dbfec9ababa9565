//! The same load over endpoints of all manners: what those that are not well cost the others, and
//! what becomes of their own messages.

use std::collections::HashMap;

use crate::{
    lab::Lab,
    load::Load,
    report::{Report, millis},
    results::Results,
    sink,
    system::{Pace, System},
    webhooks::{Manner, Mix},
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Messages per second over all endpoints.
    #[arg(long, default_value_t = 500)]
    pub(crate) rate: u32,
    /// Seconds of each run.
    #[arg(long, default_value_t = 15)]
    pub(crate) seconds: u32,
    /// Endpoints. One of them hangs; one in ten is slow or limited; all refuse one message in ten
    /// at first.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(10..))]
    pub(crate) endpoints: u32,
}

/// All mixes, one after the other, each in a lab of its own.
pub(crate) async fn run(options: &Options, results: &mut Results) -> anyhow::Result<()> {
    let &Options {
        rate,
        seconds,
        endpoints,
    } = options;
    let mixes = [
        ("all well", Mix::All(Manner::Ok)),
        ("one hangs", Mix::Every(endpoints, Manner::Hang)),
        ("one in ten slow", Mix::Every(10, Manner::Slow)),
        ("10 % errors", Mix::All(Manner::Flaky)),
        ("one in ten limited", Mix::Every(10, Manner::Limited)),
        ("mixed", Mix::Mixed),
    ];
    results.say(format!(
        "{rate} messages/s over {endpoints} endpoints for {seconds} s"
    ));
    for (name, mix) in mixes {
        let lab = Lab::start().await?;
        let load = Load {
            mix,
            ..Load::new(rate * seconds, endpoints, Pace::Rate(rate))
        };
        let report = load.run(&lab).await?;
        lab.stop().await?;
        results.keep("trouble", name, &report);
        results.say(line(name, &load, &report));
    }
    Ok(())
}

fn line(name: &str, load: &Load, report: &Report) -> String {
    let lost = report.published - report.delivered;
    let mut text = format!(
        "{name:<18} well: ack to POST p50 {:.2} ms, p99 {:.2} ms, lost {lost}, twice {}, {:.0} µs \
         CPU each (wahook)",
        millis(&report.micros, 0.5),
        millis(&report.micros, 0.99),
        report.duplicates,
        report.cpu_each(),
    );
    let waits = waits(report);
    if let (Some(first), Some(last)) = (waits.first(), waits.last()) {
        text += &format!(
            "; {} refused, again after {first:.2} to {last:.2} s",
            report.refused
        );
    }
    let limited =
        || (0..load.endpoints).filter(|endpoint| load.mix.of(*endpoint) == Manner::Limited);
    if limited().next().is_some() {
        let at = |endpoint| {
            report
                .sightings
                .iter()
                .filter(move |one| one.endpoint == endpoint)
        };
        let taken: usize = limited()
            .map(|endpoint| at(endpoint).filter(|one| one.taken()).count())
            .sum();
        let asked: usize = limited().map(|endpoint| at(endpoint).count()).sum();
        text += &format!(
            "; limited to {}/s: {taken} taken and {} answered 429 by the end of the run",
            sink::LIMIT,
            asked - taken
        );
    }
    text
}

/// Seconds from each refused request to the next one of its message, sorted; those that the
/// endpoint refused for its limit are not among them.
fn waits(report: &Report) -> Vec<f64> {
    let mut sightings: Vec<_> = report
        .sightings
        .iter()
        .filter(|one| one.status != 429)
        .collect();
    sightings.sort_by_key(|one| one.at);
    let mut refused = HashMap::new();
    let mut waits = Vec::new();
    for one in sightings {
        if let Some(before) = refused.remove(&one.id) {
            waits.push((one.at - before) as f64 / 1e6);
        }
        if !one.taken() {
            refused.insert(one.id, one.at);
        }
    }
    waits.sort_by(f64::total_cmp);
    waits
}
