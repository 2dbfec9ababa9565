//! Drops rows that are older than `store.retention`, a few at a time.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::{model::Timestamp, store::Store, telemetry};

/// Minutes do not matter for rows that are kept for days.
const DROP_INTERVAL: Duration = Duration::from_secs(600);
/// Between two steps, so that writers come first.
const PAUSE: Duration = Duration::from_millis(50);

/// Runs until cancelled.
pub(super) async fn keep(store: Arc<dyn Store>, retention: Duration, cancel: CancellationToken) {
    let mut ticks = interval(DROP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let forget = async {
        loop {
            ticks.tick().await;
            match forget(&*store, retention).await {
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

async fn forget(store: &dyn Store, retention: Duration) -> Result<usize, crate::store::Error> {
    let now = Timestamp::from_system(SystemTime::now()).millis();
    let before = now.saturating_sub(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX));
    let mut count = 0;
    loop {
        match store.expire(Timestamp::from_millis(before)).await? {
            0 => return Ok(count),
            some => count += some,
        }
        sleep(PAUSE).await;
    }
}
