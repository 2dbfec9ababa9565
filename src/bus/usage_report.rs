//! What all clients store together, for metrics, which name no client.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{Bus, Error, Stream};
use crate::{
    model::{ClientId, Quota, Usage},
    tasks::{TaskKind, Tasks},
    telemetry,
};

/// How often metrics are set.
const REPORT_INTERVAL: Duration = Duration::from_secs(15);
/// Where messages, results and dead letters lie.
const STREAMS: [Stream; 6] = [
    Stream::Messages,
    Stream::Retries,
    Stream::Held,
    Stream::ChatQueues,
    Stream::Results,
    Stream::DeadLetters,
];

impl Bus {
    /// Keeps the metrics of what clients store current, for as long as the process lives.
    pub fn report_usage(&self, tasks: &Tasks, cancel: &CancellationToken) {
        let bus = self.clone();
        let ends = cancel.clone();
        tasks.keep(TaskKind::UsageReport, cancel, move || {
            bus.clone().keep_reporting(ends.clone())
        });
    }

    async fn keep_reporting(self, cancel: CancellationToken) {
        let mut ticks = interval(REPORT_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
            // While it cannot be told, nothing changes.
            if let Err(error) = self.report_usage_once().await {
                tracing::debug!(%error, "metrics of what clients store are old");
            }
        }
    }

    async fn report_usage_once(&self) -> Result<(), Error> {
        let usage = self.usage_of_all().await?;
        for quota in Quota::ALL {
            let bytes = usage.values().map(|usage| usage.of(quota)).sum();
            telemetry::clients_usage(quota.as_str(), bytes);
            if let Some(limit) = quota.limit() {
                let is_over = |(client, usage): &(&ClientId, &Usage)| {
                    usage.of(quota) >= self.limit(**client, limit)
                };
                telemetry::clients_over_quota(quota.as_str(), usage.iter().filter(is_over).count());
            }
        }
        for stream in STREAMS {
            let handle = self.context.get_stream(stream.as_str()).await?;
            let info = handle.cached_info();
            let bytes_max = u64::try_from(info.config.max_bytes).unwrap_or(0);
            telemetry::stream_bytes(stream.as_str(), info.state.bytes, bytes_max);
        }
        Ok(())
    }
}
