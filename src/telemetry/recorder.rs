//! The Prometheus recorder: set up from the table of names, rendered on demand.

use std::{sync::OnceLock, time::Duration};

use metrics::{
    Recorder, describe_counter, describe_gauge, describe_histogram, gauge, with_local_recorder,
};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::{
    from_start,
    names::{self, Kind},
};

/// How often samples of histograms are added to their buckets. Until then each sample takes memory.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// All metrics of this process.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Starts to count. A second call returns the same metrics.
    ///
    /// # Panics
    /// When another crate has installed a recorder of its own.
    pub fn install() -> Self {
        static INSTALLED: OnceLock<Metrics> = OnceLock::new();
        let install = || {
            let recorder = recorder();
            let handle = recorder.handle();
            describe(&recorder);
            with_local_recorder(&recorder, from_start::register);
            metrics::set_global_recorder(recorder).expect("nothing else installs a recorder");
            Self(handle)
        };
        INSTALLED.get_or_init(install).clone()
    }

    /// Adds samples of histograms to their buckets every five seconds, until cancelled. Without it
    /// memory would grow between scrapes.
    pub async fn keep_up(self, cancel: CancellationToken) {
        let mut ticks = interval(UPKEEP_INTERVAL);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            self.0.run_upkeep();
        }
    }

    /// In Prometheus' text format.
    pub fn render(&self) -> String {
        self.0.render()
    }
}

fn recorder() -> PrometheusRecorder {
    let mut builder = PrometheusBuilder::new();
    for metric in names::ALL {
        if let Kind::Histogram(buckets) = metric.kind {
            let matcher = Matcher::Full(metric.name.into());
            builder = builder
                .set_buckets_for_metric(matcher, buckets)
                .expect("the tables have buckets");
        }
    }
    builder.build_recorder()
}

fn describe(recorder: &impl Recorder) {
    with_local_recorder(recorder, || {
        for metric in names::ALL {
            match metric.kind {
                Kind::Counter => describe_counter!(metric.name, metric.help),
                Kind::Gauge => describe_gauge!(metric.name, metric.help),
                Kind::Histogram(_) => describe_histogram!(metric.name, metric.help),
            }
        }
        let commit = option_env!("WAHOOK_COMMIT").unwrap_or("unknown");
        gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION"), "commit" => commit)
            .set(1.0);
    });
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
