//! A long run: does memory stay where it is?

use serde_json::json;

use crate::{
    lab::Lab,
    load::Load,
    report::{Report, mebibytes, millis},
    results::Results,
    system::{Pace, System},
};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Messages per second over all endpoints.
    #[arg(long, default_value_t = 500)]
    rate: u32,
    /// Seconds of the run.
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u32).range(10..))]
    seconds: u32,
    /// Endpoints.
    #[arg(long, default_value_t = 10_000)]
    endpoints: u32,
}

pub(crate) async fn run(options: &Options, results: &mut Results) -> anyhow::Result<()> {
    let &Options {
        rate,
        seconds,
        endpoints,
    } = options;
    let lab = Lab::start().await?;
    let report = Load::new(rate * seconds, endpoints, Pace::Rate(rate))
        .run(&lab)
        .await?;
    lab.stop().await?;
    results.keep("soak", "wahook and nats-server", &report);
    results.say(format!(
        "{rate} messages/s over {endpoints} endpoints for {seconds} s\n{report}"
    ));
    let memory = sender(&report);
    let tenths: Vec<String> = (1..=10)
        .filter_map(|tenth| memory.get(memory.len() * tenth / 10 - 1))
        .map(|(_, mib)| format!("{mib:.1}"))
        .collect();
    results.say(format!(
        "  memory of wahook at each tenth of the run, MiB: {}",
        tenths.join(", ")
    ));
    let second = memory.len() / 2;
    let slope = slope(&memory[memory.len() / 2..]) * 60.0;
    let most = memory.iter().map(|(_, mib)| *mib).fold(0.0, f64::max);
    results.say(format!(
        "  over its second half ({} looks) it grew by {slope:.2} MiB a minute; at most {most:.1} \
         MiB; ack to POST p99 {:.2} ms",
        memory.len() - second,
        millis(&report.micros, 0.99)
    ));
    results.figures(json!({"grew_mib_per_minute": slope, "memory_mib_max": most}));
    Ok(())
}

/// Seconds and MiB.
fn sender(report: &Report) -> Vec<(f64, f64)> {
    let samples = report
        .parts
        .first()
        .map_or(&[][..], |part| &part.samples[..]);
    samples
        .iter()
        .map(|one| (one.at.as_secs_f64(), mebibytes(one.rss_bytes)))
        .collect()
}

/// Of the line that fits best (least squares).
fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let x_mean = mean(|point| point.0);
    let y_mean = mean(|point| point.1);
    let along: f64 = points
        .iter()
        .map(|(x, y)| (x - x_mean) * (y - y_mean))
        .sum();
    along
        / points
            .iter()
            .map(|(x, _)| (x - x_mean).powi(2))
            .sum::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_is_that_of_the_line() {
        let line: Vec<_> = (0..10)
            .map(|x| (f64::from(x), 3.0 + 2.0 * f64::from(x)))
            .collect();
        assert!((slope(&line) - 2.0).abs() < 1e-9);
        let flat = [(0.0, 5.0), (1.0, 6.0), (2.0, 5.0), (3.0, 6.0), (4.0, 5.0)];
        assert!(slope(&flat).abs() < 1e-9);
    }
}
