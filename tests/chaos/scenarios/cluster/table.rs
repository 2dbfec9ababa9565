//! The table of a run: what each fault did to the messages that came while it lasted.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use ledger::Ledgers;

use super::super::order::Overtaken;

/// A line of it.
pub(super) struct Row {
    pub(super) fault: String,
    /// Messages accepted from this fault to the next.
    sent: usize,
    lost: usize,
    doubled: usize,
    pub(super) overtaken: usize,
    /// From each acknowledgement to the first request, sorted, in microseconds.
    latencies: Vec<u64>,
    /// The longest time without any request, in microseconds.
    silence: u64,
}

impl Row {
    pub(super) fn head() -> String {
        format!(
            "{:<32} {:>6} {:>5} {:>8} {:>10} {:>7} {:>7} {:>8} {:>8}",
            "fault", "sent", "lost", "doubled", "overtaken", "p50 s", "p99 s", "longest", "silence"
        )
    }

    fn quantile(&self, quantile: f64) -> f64 {
        let rank = (self.latencies.len() as f64 * quantile).ceil() as usize;
        let at = self.latencies.get(rank.saturating_sub(1));
        at.map_or(f64::NAN, |micros| *micros as f64 / 1e6)
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<32} {:>6} {:>5} {:>8} {:>10} {:>7.2} {:>7.2} {:>8.2} {:>8.2}",
            self.fault,
            self.sent,
            self.lost,
            self.doubled,
            self.overtaken,
            self.quantile(0.5),
            self.quantile(0.99),
            self.quantile(1.0),
            self.silence as f64 / 1e6,
        )
    }
}

/// One row for each fault of the books, under these names.
pub(super) fn rows(
    ledgers: &Ledgers,
    names: Vec<String>,
    doubled: &[usize],
    overtaken: &[Overtaken],
) -> Vec<Row> {
    let begins: Vec<u64> = ledgers.faults.iter().map(|fault| fault.at).collect();
    let first = first_seen(ledgers);
    let outstanding: BTreeSet<u64> = ledgers.outstanding().into_iter().collect();
    let early: BTreeSet<u64> = overtaken.iter().map(|one| one.early).collect();
    let rows = names.into_iter().enumerate().map(|(place, fault)| {
        let from = begins[place];
        let to = begins.get(place + 1).copied().unwrap_or(u64::MAX);
        let during = ledgers
            .accepted
            .iter()
            .filter(|(_, one)| (from..to).contains(&one.at));
        let ids: BTreeSet<u64> = during.clone().map(|(id, _)| *id).collect();
        let seen = during.filter_map(|(id, one)| Some(first.get(id)?.saturating_sub(one.at)));
        let mut latencies: Vec<u64> = seen.collect();
        latencies.sort_unstable();
        Row {
            fault,
            sent: ids.len(),
            lost: ids.intersection(&outstanding).count(),
            doubled: doubled.get(place).copied().unwrap_or(0),
            overtaken: ids.intersection(&early).count(),
            latencies,
            silence: silence(ledgers, from, to),
        }
    });
    rows.collect()
}

fn first_seen(ledgers: &Ledgers) -> BTreeMap<u64, u64> {
    let mut first = BTreeMap::new();
    for one in &ledgers.sightings {
        let at = first.entry(one.id).or_insert(one.at);
        *at = one.at.min(*at);
    }
    first
}

fn silence(ledgers: &Ledgers, from: u64, to: u64) -> u64 {
    let times = ledgers.sightings.iter().map(|one| one.at);
    let mut times: Vec<u64> = times.filter(|at| (from..to).contains(at)).collect();
    times.push(from);
    times.sort_unstable();
    let gaps = times.windows(2).map(|pair| pair[1] - pair[0]);
    gaps.max().unwrap_or(0)
}
