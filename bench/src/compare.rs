//! The same load without and with something beside it.

use serde_json::json;

use crate::{report::Report, results::Results};

/// What is compared, by whether the thing is there: without, again without, with.
const ARMS: [(&str, bool); 3] = [("without", false), ("again without", false), ("with", true)];

/// Runs all three as often as `rounds` says, and prints p99 of each round, of all rounds together,
/// and the ratio beside what the machine's noise alone makes of it.
pub(crate) async fn alternate(
    results: &mut Results,
    rounds: u32,
    mut run: impl AsyncFnMut(bool) -> anyhow::Result<Report>,
) -> anyhow::Result<()> {
    let mut pooled = ARMS.map(|_| None);
    for round in 0..rounds as usize {
        let mut p99 = [0.0; ARMS.len()];
        for turn in 0..ARMS.len() {
            // Each arm is the first as often as the others, since other work on the machine comes
            // and goes.
            let arm = (round + turn) % ARMS.len();
            let (label, is_there) = ARMS[arm];
            let report = run(is_there).await?;
            let whole = report.delivered == report.published && report.crossed == 0;
            anyhow::ensure!(
                whole,
                "not all healthy messages came where they belong:\n{report}"
            );
            results.keep("compared", label, &report);
            p99[arm] = report.latency(0.99).as_secs_f64() * 1e3;
            match &mut pooled[arm] {
                none @ None => *none = Some(report.micros),
                Some(all) => all.add(report.micros)?,
            }
        }
        let [without, again, with] = p99;
        results.say(format!(
            "round {}: p99 {without:.2} ms without, {again:.2} ms again without, {with:.2} ms with",
            round + 1
        ));
    }
    let [without, again, with] =
        pooled.map(|all| all.map_or(f64::NAN, |all| all.value_at_quantile(0.99) as f64 / 1e3));
    results.say(format!(
        "all rounds together: p99 {without:.2} ms without, {again:.2} ms again without, {with:.2} \
         ms with\n\
         ratio with / without {:.2}; noise, again without / without {:.2}",
        with / without,
        again / without
    ));
    results.figures(json!({"ratio": with / without, "noise": again / without}));
    Ok(())
}
