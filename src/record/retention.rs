//! Drops rows that are older than `store.retention`, a few at a time.

use std::{sync::Arc, time::Duration};

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::{bus::Bus, model::Timestamp, store::Store, telemetry};

/// Minutes do not matter for rows that are kept for days.
const DROP_INTERVAL: Duration = Duration::from_secs(600);
/// Between two steps, so that writers come first.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs until cancelled. What is old is told by the server's clock: this machine's may be years
/// ahead.
pub(super) async fn keep(
    bus: Bus,
    store: Arc<dyn Store>,
    retention: Duration,
    cancel: CancellationToken,
) {
    let mut ticks = interval(DROP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let forget = async {
        loop {
            ticks.tick().await;
            match forget(&*store, bus.now(), retention).await {
                Ok(0) => {}
                Ok(count) => {
                    tracing::info!(count, "attempts older than store.retention are dropped")
                }
                Err(error) => {
                    telemetry::error("record", "expire");
                    let error = telemetry::report(&error);
                    tracing::warn!(
                        error,
                        "old attempts could not be dropped; trying again later"
                    );
                }
            }
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        () = forget => {}
    }
}

async fn forget(
    store: &dyn Store,
    now: Timestamp,
    retention: Duration,
) -> Result<usize, crate::store::Error> {
    let before = now
        .millis()
        .saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
    let mut count = 0;
    loop {
        match store.expire(Timestamp::from_millis(before)).await? {
            0 => return Ok(count),
            some => count += some,
        }
        sleep(PAUSE).await;
    }
}
