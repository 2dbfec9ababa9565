//! What a run showed.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use ledger::{Accepted, Fault, Ledgers, Sighting, invariants, windows};

use crate::{
    sink::Seen,
    stages::Stages,
    system::Sent,
    usage::{Role, Sample, Taken},
};

/// What a report is made of.
pub(crate) struct Books<'a> {
    /// By the message's number.
    pub(crate) sent: &'a [Sent],
    pub(crate) seen: &'a [Seen],
    /// Number and endpoint of the messages that count.
    pub(crate) measured: Vec<(u32, u32)>,
    pub(crate) faults: Vec<Fault>,
}

impl Books<'_> {
    fn ledgers(&self) -> Ledgers {
        let accepted = |(number, endpoint): &(u32, u32)| {
            let at = self.sent[*number as usize].acked?;
            Some((
                u64::from(*number),
                Accepted {
                    at,
                    endpoint: *endpoint,
                },
            ))
        };
        let sighting = |one: &Seen| {
            let Seen {
                id,
                at,
                endpoint,
                status,
            } = *one;
            // The sink reads neither ids nor bodies beyond the number.
            Sighting {
                endpoint,
                id,
                same: 0,
                at,
                status,
                under_way: 0,
            }
        };
        Ledgers {
            offered: self
                .measured
                .iter()
                .map(|(number, endpoint)| (u64::from(*number), *endpoint))
                .collect(),
            accepted: self.measured.iter().filter_map(accepted).collect(),
            sightings: self.seen.iter().map(sighting).collect(),
            faults: self.faults.clone(),
            ..Ledgers::default()
        }
    }
}

/// Figures of one run.
pub(crate) struct Report {
    /// Publish ack to the first POST, in microseconds.
    pub(crate) micros: Histogram<u64>,
    /// The time planned for the publish to the first POST: what a slow publish costs is in it.
    pub(crate) planned: Histogram<u64>,
    /// The time planned for the publish to its ack.
    pub(crate) publish: Histogram<u64>,
    pub(crate) offered: u32,
    /// Publishes that were acknowledged.
    pub(crate) published: u32,
    pub(crate) delivered: u32,
    pub(crate) duplicates: usize,
    /// Requests that were answered with something else than 2xx.
    pub(crate) refused: usize,
    /// Sightings at endpoints that they were not for.
    pub(crate) crossed: usize,
    /// First publish to the last message's being taken.
    pub(crate) span: Duration,
    /// From the first message's being taken to the last one's.
    pub(crate) drain: Duration,
    /// The longest time from a fault until all that was accepted before it had been taken.
    pub(crate) recovery: Duration,
    /// What the processes took.
    pub(crate) parts: Vec<Taken>,
    /// All that the sink saw, that of endpoints beside the measured ones among it.
    pub(crate) sightings: Vec<Sighting>,
    /// When it began, in microseconds since 1970.
    pub(crate) began: u64,
    /// Where wahook's time went.
    pub(crate) stages: Option<Stages>,
}

impl Report {
    /// Of these books, which tell nothing of endpoints beside the measured ones but what they saw.
    pub(crate) fn of(books: Books<'_>, began: u64, parts: Vec<Taken>) -> anyhow::Result<Self> {
        let ledgers = books.ledgers();
        let mut micros = Histogram::new(3)?;
        for latency in ledgers.latencies() {
            // A POST may overtake its ack on the way back to the publisher.
            micros.record(latency.max(1))?;
        }
        let mut publish = Histogram::new(3)?;
        for (number, _) in &books.measured {
            let Sent { due, acked } = books.sent[*number as usize];
            if let Some(acked) = acked {
                publish.record(acked.saturating_sub(due).max(1))?;
            }
        }
        let planned = planned(&books, &ledgers)?;
        let known = |id: &u64| ledgers.offered.contains_key(id);
        let of_measured = || ledgers.sightings.iter().filter(|one| known(&one.id));
        let taken = || of_measured().filter(|one| one.taken()).map(|one| one.at);
        let first = taken().min().unwrap_or(began);
        let last = taken().max().unwrap_or(began);
        let published = u32::try_from(ledgers.accepted.len())?;
        let refused = of_measured().filter(|one| !one.taken()).count();
        Ok(Self {
            micros,
            planned,
            publish,
            offered: u32::try_from(ledgers.offered.len())?,
            published,
            delivered: published - u32::try_from(ledgers.outstanding().len())?,
            duplicates: invariants::duplicates(&ledgers)
                .iter()
                .filter(|one| known(&one.id))
                .count(),
            refused,
            crossed: invariants::crossings(&ledgers).len(),
            span: Duration::from_micros(last.saturating_sub(began).max(1)),
            drain: Duration::from_micros(last.saturating_sub(first).max(1)),
            recovery: Duration::from_micros(ledgers.recovery()),
            parts,
            sightings: ledgers.sightings,
            began,
            stages: None,
        })
    }

    /// Deliveries per second, from the first publish on.
    pub(crate) fn rate(&self) -> f64 {
        f64::from(self.delivered) / self.span.as_secs_f64()
    }

    /// Deliveries per second, from the first delivery on.
    pub(crate) fn drain_rate(&self) -> f64 {
        f64::from(self.delivered) / self.drain.as_secs_f64()
    }

    /// Processor time of the sender per delivery, in microseconds.
    pub(crate) fn cpu_each(&self) -> f64 {
        self.each(|role| role == Role::Sender)
    }

    /// The same of the whole system: sender, queue and database.
    pub(crate) fn system_cpu_each(&self) -> f64 {
        self.each(|role| role != Role::Harness)
    }

    fn each(&self, which: impl Fn(Role) -> bool) -> f64 {
        let cpu: Duration = self
            .parts
            .iter()
            .filter(|part| which(part.role))
            .map(|part| part.cpu)
            .sum();
        cpu.as_secs_f64() * 1e6 / f64::from(self.delivered.max(1))
    }

    /// Resident memory of the sender at the end.
    pub(crate) fn rss_bytes(&self) -> u64 {
        self.parts
            .iter()
            .filter(|part| part.role == Role::Sender)
            .map(|part| part.rss_bytes)
            .sum()
    }

    /// Resident memory of the whole system at the end.
    pub(crate) fn system_rss_bytes(&self) -> u64 {
        self.parts
            .iter()
            .filter(|part| part.role != Role::Harness)
            .map(|part| part.rss_bytes)
            .sum()
    }

    /// Deliveries in each second of the run, at its middle.
    pub(crate) fn per_second(&self) -> Vec<(f64, f64)> {
        let mut counts = vec![0_u32; self.span.as_secs() as usize + 1];
        for one in self
            .sightings
            .iter()
            .filter(|one| one.taken() && one.at >= self.began)
        {
            if let Some(count) = counts.get_mut(((one.at - self.began) / 1_000_000) as usize) {
                *count += 1;
            }
        }
        counts
            .iter()
            .enumerate()
            .map(|(second, count)| (second as f64 + 0.5, f64::from(*count)))
            .collect()
    }

    /// The sum over the system's processes, at each look.
    pub(crate) fn over_time(&self, of: impl Fn(&Sample) -> f64) -> Vec<(f64, f64)> {
        let own: Vec<_> = self
            .parts
            .iter()
            .filter(|part| part.role != Role::Harness)
            .collect();
        let looks = own.iter().map(|part| part.samples.len()).min().unwrap_or(0);
        let sum = |look: usize| own.iter().map(|part| of(&part.samples[look])).sum();
        (0..looks)
            .map(|look| (own[0].samples[look].at.as_secs_f64(), sum(look)))
            .collect()
    }

    /// Most requests at an endpoint in any second.
    pub(crate) fn most_per_second(&self, endpoint: u32) -> usize {
        let at = self
            .sightings
            .iter()
            .filter(|one| one.endpoint == endpoint)
            .map(|one| one.at);
        let mut times: Vec<u64> = at.collect();
        times.sort_unstable();
        windows::fullest(&times, 1_000_000).0
    }

    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.micros.value_at_quantile(quantile))
    }
}

/// From the planned time of each message to its first POST.
fn planned(books: &Books<'_>, ledgers: &Ledgers) -> anyhow::Result<Histogram<u64>> {
    let mut micros = Histogram::new(3)?;
    let mut first = vec![u64::MAX; books.sent.len()];
    for one in ledgers
        .sightings
        .iter()
        .filter(|one| ledgers.accepted.contains_key(&one.id))
    {
        let earliest = &mut first[usize::try_from(one.id)?];
        *earliest = one.at.min(*earliest);
    }
    for (sent, at) in books
        .sent
        .iter()
        .zip(first)
        .filter(|(_, at)| *at != u64::MAX)
    {
        micros.record(at.saturating_sub(sent.due).max(1))?;
    }
    Ok(micros)
}

/// Of a histogram of microseconds.
pub(crate) fn millis(micros: &Histogram<u64>, quantile: f64) -> f64 {
    micros.value_at_quantile(quantile) as f64 / 1e3
}

pub(crate) fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  published            {:>10}", self.published)?;
        writeln!(f, "  delivered            {:>10}", self.delivered)?;
        writeln!(
            f,
            "  lost                 {:>10}",
            self.published - self.delivered
        )?;
        writeln!(f, "  duplicate            {:>10}", self.duplicates)?;
        writeln!(f, "  at a wrong endpoint  {:>10}", self.crossed)?;
        writeln!(f, "  deliveries/s         {:>10.0}", self.rate())?;
        for (name, micros) in [
            ("plan to ack ", &self.publish),
            ("ack to POST ", &self.micros),
            ("plan to POST", &self.planned),
        ] {
            for (what, quantile) in [("p50", 0.5), ("p99", 0.99), ("max", 1.0)] {
                writeln!(
                    f,
                    "  {name} {what}     {:>10.2} ms",
                    millis(micros, quantile)
                )?;
            }
        }
        writeln!(
            f,
            "  CPU per delivery     {:>10.0} µs (sender)",
            self.cpu_each()
        )?;
        for part in &self.parts {
            let each = part.cpu.as_secs_f64() * 1e6 / f64::from(self.delivered.max(1));
            writeln!(
                f,
                "    {:<12}       {each:>10.0} µs each, {:.1} MiB at the end, {:.1} MiB at most",
                part.name,
                mebibytes(part.rss_bytes),
                mebibytes(part.rss_bytes_max)
            )?;
        }
        write!(
            f,
            "  memory at the end    {:>10.1} MiB (sender)",
            mebibytes(self.rss_bytes())
        )?;
        if let Some(stages) = &self.stages {
            write!(f, "\n{stages}")?;
        }
        Ok(())
    }
}
