//! What a run showed.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use ledger::{Ledgers, Sighting, invariants, windows};

/// Figures of one run.
pub(crate) struct Report {
    /// Publish ack to POST, in microseconds.
    pub(crate) micros: Histogram<u64>,
    pub(crate) published: u32,
    pub(crate) delivered: u32,
    pub(crate) duplicates: usize,
    /// Sightings at endpoints that they were not for.
    pub(crate) crossed: usize,
    /// First publish to last POST.
    pub(crate) span: Duration,
    /// Processor time of the wahook process over the run.
    pub(crate) cpu: Duration,
    /// Resident memory of the wahook process at the end.
    pub(crate) rss_bytes: u64,
    /// All that the sink saw, that of endpoints beside the measured ones among it.
    pub(crate) sightings: Vec<Sighting>,
}

impl Report {
    /// Of these books, which tell nothing of endpoints beside the measured ones but what they saw.
    pub(crate) fn of(ledgers: Ledgers, began: u64, cpu: Duration, rss_bytes: u64) -> anyhow::Result<Self> {
        let mut micros = Histogram::new(3)?;
        for latency in ledgers.latencies() {
            // A POST may overtake its ack on the way back to the publisher.
            micros.record(latency.max(1))?;
        }
        let measured = ledgers.sightings.iter().filter(|one| ledgers.offered.contains_key(&one.id));
        let last = measured.map(|one| one.at).max().unwrap_or(began);
        let published = u32::try_from(ledgers.accepted.len())?;
        let delivered = published - u32::try_from(ledgers.outstanding().len())?;
        let known = |one: &ledger::invariants::Duplicate| ledgers.offered.contains_key(&one.id);
        Ok(Self {
            micros,
            published,
            delivered,
            duplicates: invariants::duplicates(&ledgers).into_iter().filter(known).count(),
            crossed: invariants::crossings(&ledgers).len(),
            span: Duration::from_micros(last.saturating_sub(began).max(1)),
            cpu,
            rss_bytes,
            sightings: ledgers.sightings,
        })
    }

    /// Deliveries per second.
    pub(crate) fn rate(&self) -> f64 {
        f64::from(self.delivered) / self.span.as_secs_f64()
    }

    /// Processor time per delivery, in microseconds.
    pub(crate) fn cpu_each(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / f64::from(self.delivered.max(1))
    }

    /// Most requests at an endpoint in any second.
    pub(crate) fn most_per_second(&self, endpoint: u32) -> usize {
        let at = self.sightings.iter().filter(|one| one.endpoint == endpoint).map(|one| one.at);
        let mut times: Vec<u64> = at.collect();
        times.sort_unstable();
        windows::fullest(&times, 1_000_000).0
    }

    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.micros.value_at_quantile(quantile))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = |quantile| self.latency(quantile).as_secs_f64() * 1e3;
        writeln!(f, "  published            {:>10}", self.published)?;
        writeln!(f, "  delivered            {:>10}", self.delivered)?;
        writeln!(f, "  lost                 {:>10}", self.published - self.delivered)?;
        writeln!(f, "  duplicate            {:>10}", self.duplicates)?;
        writeln!(f, "  at a wrong endpoint  {:>10}", self.crossed)?;
        writeln!(f, "  deliveries/s         {:>10.0}", self.rate())?;
        writeln!(f, "  ack to POST p50      {:>10.2} ms", millis(0.5))?;
        writeln!(f, "  ack to POST p99      {:>10.2} ms", millis(0.99))?;
        writeln!(f, "  ack to POST max      {:>10.2} ms", millis(1.0))?;
        writeln!(f, "  CPU per delivery     {:>10.0} µs (wahook)", self.cpu_each())?;
        write!(f, "  memory at the end    {:>10.1} MiB (wahook)", self.rss_bytes as f64 / 1_048_576.0)
    }
}
