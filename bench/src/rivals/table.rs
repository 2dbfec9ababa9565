//! All figures of a comparison, one row each, and in which of them the rival is ahead.

use std::fmt;

use serde_json::{Map, Value, json};

use super::{
    Kind,
    phases::{Phase, Shown},
};
use crate::{
    report::{Report, mebibytes, millis},
    results::Results,
    usage::{Role, Taken},
};

/// Columns, from left to right.
const COLUMNS: [Kind; 4] = [Kind::Wahook, Kind::Bullmq, Kind::Plain, Kind::Floor];

/// A figure that is set, not measured.
const OFFERED: &str = "offered";

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

impl Row {
    /// The medians of wahook and of the rival, where one can be better than the other.
    fn compared(&self) -> Option<(f64, f64)> {
        (self.figure != OFFERED).then_some((median(&self.values[0])?, median(&self.values[1])?))
    }

    /// In words, if the rival is ahead.
    fn behind(&self) -> Option<String> {
        let (own, rival) = self.compared()?;
        let is_ahead = match self.better {
            Better::Higher => rival > own,
            Better::Lower => rival < own,
        };
        is_ahead.then(|| {
            format!(
                "{}, {}: {own:.2} against {rival:.2} {}",
                self.scenario, self.figure, self.unit
            )
        })
    }
}

#[derive(Default)]
pub(super) struct Table {
    rows: Vec<Row>,
    versions: Vec<(Kind, String)>,
    /// What went wrong, in any run.
    faults: Vec<String>,
}

fn column(kind: Kind) -> usize {
    COLUMNS
        .iter()
        .position(|one| *one == kind)
        .expect("all kinds have a column")
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let low = sorted.get(sorted.len().checked_sub(1)? / 2)?;
    let high = sorted.get(sorted.len() / 2)?;
    Some(f64::midpoint(*low, *high))
}

/// Processor time per second, of what the system consists of, in milliseconds.
fn idle_cpu(parts: &[Taken]) -> f64 {
    let own = parts.iter().filter(|part| part.role != Role::Harness);
    own.flat_map(|part| {
        part.samples
            .iter()
            .map(|one| one.processors * 1e3 / part.samples.len() as f64)
    })
    .sum()
}

impl Row {
    fn new(
        scenario: &'static str,
        figure: &'static str,
        unit: &'static str,
        better: Better,
    ) -> Self {
        Self {
            scenario,
            figure,
            unit,
            better,
            values: Default::default(),
        }
    }
}

impl Table {
    pub(super) fn add(&mut self, results: &mut Results, kind: Kind, shown: Shown) {
        use Better::Lower;
        let Shown {
            phase,
            report,
            idle,
            audit,
            versions,
        } = shown;
        let lost = report.published - report.delivered;
        let twice = report.duplicates;
        results.keep(phase.name(), kind.name(), &report);
        results.say(format!(
            "{:>8} {:<14} {:>6.0} deliveries/s, p50 {:.2} ms, p99 {:.2} ms, sender {:.0} µs, \
             system {:.0} µs of CPU each, lost {lost}, twice {twice}",
            phase.name(),
            kind.name(),
            report.rate(),
            millis(&report.micros, 0.5),
            millis(&report.micros, 0.99),
            report.cpu_each(),
            report.system_cpu_each(),
        ));
        if lost > 0 || twice > 0 {
            self.faults.push(format!(
                "{}, {}: lost {lost}, twice {twice}",
                phase.name(),
                kind.name()
            ));
        }
        if !self.versions.iter().any(|(known, _)| *known == kind) {
            self.versions.push((kind, versions));
        }
        self.put_all(kind, phase, &report);
        let mut put = |figure, unit, better, value| {
            self.put(kind, Row::new(phase.name(), figure, unit, better), value);
        };
        if let Some(idle) = idle {
            put("idle, CPU of the system", "ms/s", Lower, idle_cpu(&idle));
        }
        if let Some(audit) = audit {
            put("POST to audit row p50", "ms", Lower, millis(&audit, 0.5));
            put("POST to audit row p99", "ms", Lower, millis(&audit, 0.99));
        }
    }

    /// The figures of a run that its phase is about.
    fn put_all(&mut self, kind: Kind, phase: Phase, report: &Report) {
        use Better::{Higher, Lower};
        let mut put = |figure, unit, better, value| {
            self.put(kind, Row::new(phase.name(), figure, unit, better), value);
        };
        match phase {
            Phase::Top { .. } => {
                put("deliveries", "/s", Higher, report.rate());
                put("CPU each, sender", "µs", Lower, report.cpu_each());
                put("CPU each, system", "µs", Lower, report.system_cpu_each());
                put(
                    "memory, sender",
                    "MiB",
                    Lower,
                    mebibytes(report.rss_bytes()),
                );
                put(
                    "memory, system",
                    "MiB",
                    Lower,
                    mebibytes(report.system_rss_bytes()),
                );
            }
            Phase::Backlog { .. } => put("deliveries", "/s", Higher, report.drain_rate()),
            Phase::Rate { .. } | Phase::Half { .. } | Phase::Hanging { .. } => {
                put(OFFERED, "/s", Higher, f64::from(phase.rate()));
                put("plan to ack p50", "ms", Lower, millis(&report.publish, 0.5));
                put("ack to POST p50", "ms", Lower, millis(&report.micros, 0.5));
                put("ack to POST p99", "ms", Lower, millis(&report.micros, 0.99));
                put(
                    "plan to POST p99",
                    "ms",
                    Lower,
                    millis(&report.planned, 0.99),
                );
                put("CPU each, sender", "µs", Lower, report.cpu_each());
                put("CPU each, system", "µs", Lower, report.system_cpu_each());
            }
        }
    }

    /// Adds a value to its row, which is `row` if there is none of its scenario and figure.
    fn put(&mut self, kind: Kind, row: Row, value: f64) {
        let place = self
            .rows
            .iter()
            .position(|known| known.scenario == row.scenario && known.figure == row.figure);
        let place = place.unwrap_or_else(|| {
            self.rows.push(row);
            self.rows.len() - 1
        });
        self.rows[place].values[column(kind)].push(value);
    }

    /// All figures for programs, every round's.
    pub(super) fn figures(&self) -> Value {
        let row = |row: &Row| {
            let values: Map<String, Value> = COLUMNS
                .iter()
                .zip(&row.values)
                .map(|(kind, values)| (kind.name().to_owned(), json!(values)))
                .collect();
            json!({
                "scenario": row.scenario,
                "figure": row.figure,
                "unit": row.unit,
                "values": values,
            })
        };
        self.rows.iter().map(row).collect()
    }

    /// Deliveries per second as fast as it goes.
    pub(super) fn top(&self, kind: Kind) -> f64 {
        let row = self
            .rows
            .iter()
            .find(|row| row.scenario == "top" && row.figure == "deliveries");
        row.and_then(|row| median(&row.values[column(kind)]))
            .unwrap_or(0.0)
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
        for row in &self.rows {
            write!(f, "{:>8}  {:<24} {:<5}", row.scenario, row.figure, row.unit)?;
            for values in &row.values {
                match median(values) {
                    Some(value) => write!(f, " {value:>13.2}")?,
                    None => write!(f, " {:>13}", "–")?,
                }
            }
            if let Some((own, rival)) = row.compared() {
                write!(f, "  {:.2}", own / rival)?;
            }
            writeln!(f)?;
        }
        let behind: Vec<String> = self.rows.iter().filter_map(Row::behind).collect();
        if self.top(Kind::Floor) > 0.0 {
            writeln!(
                f,
                "wahook's top rate is {:.2} of the floor's",
                self.top(Kind::Wahook) / self.top(Kind::Floor)
            )?;
        }
        writeln!(
            f,
            "where bullmq is ahead of wahook: {}",
            if behind.is_empty() { "nowhere" } else { "" }
        )?;
        behind.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(
            f,
            "lost or delivered twice: {}",
            if self.faults.is_empty() {
                "nothing"
            } else {
                ""
            }
        )?;
        self.faults
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))?;
        self.versions
            .iter()
            .try_for_each(|(kind, text)| writeln!(f, "{}: {text}", kind.name()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rival_is_named_where_it_is_ahead_and_nowhere_else() {
        let mut table = Table::default();
        let mut put = |figure, better, values: [f64; 2]| {
            for (kind, value) in [Kind::Wahook, Kind::Bullmq].into_iter().zip(values) {
                table.put(kind, Row::new("top", figure, "x", better), value);
            }
        };
        put("deliveries", Better::Higher, [3.0, 1.0]);
        put("fast", Better::Lower, [5.0, 4.0]);
        put("same", Better::Lower, [4.0, 4.0]);
        put(OFFERED, Better::Higher, [1.0, 2.0]);
        let behind: Vec<String> = table.rows.iter().filter_map(Row::behind).collect();
        assert_eq!(behind, ["top, fast: 5.00 against 4.00 x"]);
        assert!(table.to_string().contains("3.00"));
    }

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
