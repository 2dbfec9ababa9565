//! All figures of a comparison, one row each, and in which of them the rival is ahead.

use std::fmt;

use serde_json::{Map, Value, json};

use super::{
    Kind,
    phases::{Phase, Shown},
};
use crate::{
    report::{mebibytes, millis},
    results::Results,
    usage::{Role, Taken},
};

/// Columns, from left to right.
const COLUMNS: [Kind; 4] = [Kind::Wahook, Kind::Bullmq, Kind::Plain, Kind::Floor];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Better {
    Higher,
    Lower,
}

/// One figure of all systems; several where a scenario ran several times.
struct Row {
    scenario: &'static str,
    figure: &'static str,
    unit: &'static str,
    better: Better,
    values: [Vec<f64>; COLUMNS.len()],
}

#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    versions: Vec<(Kind, String)>,
    /// What went wrong, in any run.
    faults: Vec<String>,
}

fn column(kind: Kind) -> usize {
    COLUMNS.iter().position(|one| *one == kind).expect("all kinds have a column")
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (low, high) = (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

/// Processor time per second, of what the system consists of, in milliseconds.
fn idle_cpu(parts: &[Taken]) -> f64 {
    let own = parts.iter().filter(|part| part.role != Role::Harness);
    own.flat_map(|part| part.samples.iter().map(|one| one.processors * 1e3 / part.samples.len() as f64)).sum()
}

impl Table {
    pub(super) fn add(&mut self, results: &mut Results, kind: Kind, shown: Shown) {
        use Better::{Higher, Lower};
        let Shown { phase, report, idle, audit, versions } = shown;
        let (lost, twice) = (report.published - report.delivered, report.duplicates);
        results.keep(phase.name(), kind.name(), &report);
        results.say(format!(
            "{:>8} {:<14} {:>6.0} deliveries/s, p50 {:.2} ms, p99 {:.2} ms, sender {:.0} µs, system {:.0} µs of CPU each, lost {lost}, twice {twice}",
            phase.name(),
            kind.name(),
            report.rate(),
            millis(&report.micros, 0.5),
            millis(&report.micros, 0.99),
            report.cpu_each(),
            report.system_cpu_each(),
        ));
        if lost > 0 || twice > 0 {
            self.faults.push(format!("{}, {}: lost {lost}, twice {twice}", phase.name(), kind.name()));
        }
        if !self.versions.iter().any(|(known, _)| *known == kind) {
            self.versions.push((kind, versions));
        }
        let mut put = |figure, unit, better, value| self.put(kind, phase.name(), figure, unit, better, value);
        match phase {
            Phase::Top { .. } => {
                put("deliveries", "/s", Higher, report.rate());
                put("CPU each, sender", "µs", Lower, report.cpu_each());
                put("CPU each, system", "µs", Lower, report.system_cpu_each());
                put("memory, sender", "MiB", Lower, mebibytes(report.rss_bytes()));
                put("memory, system", "MiB", Lower, mebibytes(report.system_rss_bytes()));
            }
            Phase::Backlog { .. } => put("deliveries", "/s", Higher, report.drain_rate()),
            Phase::Rate { .. } | Phase::Half { .. } | Phase::Hanging { .. } => {
                put("offered", "/s", Higher, f64::from(phase.rate()));
                put("plan to ack p50", "ms", Lower, millis(&report.publish, 0.5));
                put("ack to POST p50", "ms", Lower, millis(&report.micros, 0.5));
                put("ack to POST p99", "ms", Lower, millis(&report.micros, 0.99));
                put("plan to POST p99", "ms", Lower, millis(&report.planned, 0.99));
                put("CPU each, sender", "µs", Lower, report.cpu_each());
                put("CPU each, system", "µs", Lower, report.system_cpu_each());
            }
        }
        if let Some(idle) = idle {
            put("idle, CPU of the system", "ms/s", Lower, idle_cpu(&idle));
        }
        if let Some(audit) = audit {
            put("POST to audit row p50", "ms", Lower, millis(&audit, 0.5));
            put("POST to audit row p99", "ms", Lower, millis(&audit, 0.99));
        }
    }

    fn put(
        &mut self,
        kind: Kind,
        scenario: &'static str,
        figure: &'static str,
        unit: &'static str,
        better: Better,
        value: f64,
    ) {
        let place = self.rows.iter().position(|row| row.scenario == scenario && row.figure == figure);
        let place = place.unwrap_or_else(|| {
            self.rows.push(Row { scenario, figure, unit, better, values: Default::default() });
            self.rows.len() - 1
        });
        self.rows[place].values[column(kind)].push(value);
    }

    /// All figures for programs, every round's.
    pub(super) fn figures(&self) -> Value {
        let row = |row: &Row| {
            let values: Map<String, Value> =
                COLUMNS.iter().zip(&row.values).map(|(kind, values)| (kind.name().to_owned(), json!(values))).collect();
            json!({"scenario": row.scenario, "figure": row.figure, "unit": row.unit, "values": values})
        };
        self.rows.iter().map(row).collect()
    }

    /// Deliveries per second as fast as it goes.
    pub(super) fn top(&self, kind: Kind) -> f64 {
        let row = self.rows.iter().find(|row| row.scenario == "top" && row.figure == "deliveries");
        row.and_then(|row| median(&row.values[column(kind)])).unwrap_or(0.0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nmedians of all rounds")?;
        write!(f, "{:>8}  {:<24} {:<5}", "scenario", "figure", "unit")?;
        for kind in COLUMNS {
            write!(f, " {:>13}", kind.name())?;
        }
        writeln!(f, "  wahook : bullmq")?;
        let mut behind = Vec::new();
        for row in &self.rows {
            write!(f, "{:>8}  {:<24} {:<5}", row.scenario, row.figure, row.unit)?;
            let medians = [0, 1, 2, 3].map(|place| median(&row.values[place]));
            for value in medians {
                match value {
                    Some(value) => write!(f, " {value:>13.2}")?,
                    None => write!(f, " {:>13}", "–")?,
                }
            }
            if let [Some(own), Some(rival), ..] = medians
                && row.figure != "offered"
            {
                let ratio = own / rival;
                write!(f, "  {ratio:.2}")?;
                if (ratio < 1.0) == (row.better == Better::Higher) && ratio != 1.0 {
                    behind.push(format!("{}, {}: {own:.2} against {rival:.2} {}", row.scenario, row.figure, row.unit));
                }
            }
            writeln!(f)?;
        }
        if self.top(Kind::Floor) > 0.0 {
            writeln!(f, "wahook's top rate is {:.2} of the floor's", self.top(Kind::Wahook) / self.top(Kind::Floor))?;
        }
        writeln!(f, "where bullmq is ahead of wahook: {}", if behind.is_empty() { "nowhere" } else { "" })?;
        behind.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "lost or delivered twice: {}", if self.faults.is_empty() { "nothing" } else { "" })?;
        self.faults.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        self.versions.iter().try_for_each(|(kind, text)| writeln!(f, "{}: {text}", kind.name()))
    }
}
