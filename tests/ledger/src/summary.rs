//! The line that a run prints.

use std::fmt;

use serde::Serialize;

use crate::{
    Ledgers,
    invariants::{crossings, duplicates},
};

/// What a run came to. Shown as one line of JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// Which scenario.
    pub scenario: String,
    /// From which chance is drawn again.
    pub seed: u64,
    /// Messages whose publish was acknowledged.
    pub acked: usize,
    /// Accepted, and neither taken nor among the dead letters.
    pub lost: usize,
    /// Times that an endpoint took what it had taken before.
    pub duplicates: usize,
    /// Sightings at an endpoint that the message is not for.
    pub crossed: usize,
    /// Dead letters.
    pub dead: usize,
    /// Faults that were made.
    pub kills: usize,
    /// Publish ack to the first request, in milliseconds.
    pub p50_ms: f64,
    /// The same.
    pub p99_ms: f64,
    /// The longest time from a fault until all that was accepted before it had been taken.
    pub recovered_s: f64,
    /// Whatever else the scenario measured.
    #[serde(flatten)]
    pub more: serde_json::Map<String, serde_json::Value>,
}

impl Summary {
    /// Of these books.
    pub fn of(scenario: &str, seed: u64, ledgers: &Ledgers) -> Self {
        let latencies = ledgers.latencies();
        Self {
            scenario: scenario.to_owned(),
            seed,
            acked: ledgers.accepted.len(),
            lost: ledgers.outstanding().len(),
            duplicates: duplicates(ledgers).len(),
            crossed: crossings(ledgers).len(),
            dead: ledgers.dead.len(),
            kills: ledgers.faults.len(),
            p50_ms: round(quantile(&latencies, 0.5) / 1e3),
            p99_ms: round(quantile(&latencies, 0.99) / 1e3),
            recovered_s: round(ledgers.recovery() as f64 / 1e6),
            more: serde_json::Map::new(),
        }
    }

    /// The same with one more figure.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.more.insert(name.to_owned(), value.into());
        self
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// NaN when there is none: no figure at all is not a good one.
fn quantile(sorted: &[u64], quantile: f64) -> f64 {
    let rank = (sorted.len() as f64 * quantile).ceil() as usize;
    sorted
        .get(rank.saturating_sub(1))
        .map_or(f64::NAN, |value| *value as f64)
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}
