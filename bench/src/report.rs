//! What a run showed.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;

/// Figures of one run.
pub(crate) struct Report {
    /// Publish ack to POST, in microseconds.
    pub(crate) micros: Histogram<u64>,
    pub(crate) published: u32,
    pub(crate) delivered: u32,
    pub(crate) duplicates: u32,
    /// First publish to last POST.
    pub(crate) span: Duration,
    /// Processor time of the wahook process over the run.
    pub(crate) cpu: Duration,
    /// Resident memory of the wahook process at the end.
    pub(crate) rss_bytes: u64,
}

impl Report {
    pub(crate) fn latency(&self, quantile: f64) -> Duration {
        Duration::from_micros(self.micros.value_at_quantile(quantile))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let delivered = f64::from(self.delivered.max(1));
        let millis = |quantile| self.latency(quantile).as_secs_f64() * 1e3;
        writeln!(f, "  published            {:>10}", self.published)?;
        writeln!(f, "  delivered            {:>10}", self.delivered)?;
        writeln!(f, "  lost                 {:>10}", self.published - self.delivered)?;
        writeln!(f, "  duplicate            {:>10}", self.duplicates)?;
        writeln!(f, "  deliveries/s         {:>10.0}", delivered / self.span.as_secs_f64())?;
        writeln!(f, "  ack to POST p50      {:>10.2} ms", millis(0.5))?;
        writeln!(f, "  ack to POST p99      {:>10.2} ms", millis(0.99))?;
        writeln!(f, "  ack to POST max      {:>10.2} ms", millis(1.0))?;
        writeln!(f, "  CPU per delivery     {:>10.0} µs (wahook)", self.cpu.as_secs_f64() * 1e6 / delivered)?;
        write!(f, "  memory at the end    {:>10.1} MiB (wahook)", self.rss_bytes as f64 / 1_048_576.0)
    }
}
