//! Reconnects, flushes hourly counters, reports driver metrics.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use scylla::client::session::Session;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Connected, Slot};
use crate::{config, telemetry};

const RECONNECT_PAUSE: Duration = Duration::from_secs(1);
const REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Reports per flush of the hourly sums: once a minute, which is the price of one statement per
/// webhook that got anything.
const REPORTS_PER_FLUSH: u32 = 6;

/// Runs until the store is dropped.
pub(super) async fn run(slot: Weak<Slot>, settings: config::Cql, retention: Duration) {
    if !connect(&slot, &settings, retention).await {
        return;
    }
    tracing::info!("the store answers");
    let mut ticks = interval(REPORT_INTERVAL);
    // After a store that hung, one flush is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 1_u32.. {
        ticks.tick().await;
        let Some(connected) = slot.upgrade().and_then(|slot| connected(&slot)) else {
            return;
        };
        report_driver_metrics(&connected.session);
        if tick.is_multiple_of(REPORTS_PER_FLUSH)
            && let Err(error) = connected.flush_hours().await
        {
            // Nothing is lost: the next flush tries again.
            let error = telemetry::report(&error);
            tracing::warn!(error, "the hourly sums could not be written yet");
        }
    }
}

/// Tries until there is a connection. `false` when the store was dropped meanwhile.
async fn connect(slot: &Weak<Slot>, settings: &config::Cql, retention: Duration) -> bool {
    loop {
        // Not held while this waits, so that the store can be dropped.
        let Some(present) = slot.upgrade() else {
            return false;
        };
        if connected(&present).is_some() {
            return true;
        }
        drop(present);
        sleep(RECONNECT_PAUSE).await;
        let next = Connected::new(settings, retention).await.map(Arc::new);
        if let Err(error) = &next {
            let error = telemetry::report(error);
            tracing::warn!(error, "the store does not answer yet");
        }
        let Some(present) = slot.upgrade() else {
            return false;
        };
        *present.write().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

fn connected(slot: &Slot) -> Option<Arc<Connected>> {
    let slot = slot.read().unwrap_or_else(PoisonError::into_inner);
    slot.as_ref().ok().map(Arc::clone)
}

/// Passes the driver's own figures on.
fn report_driver_metrics(session: &Session) {
    let metrics = session.get_metrics();
    telemetry::cql_driver(&[
        ("connections", metrics.get_total_connections()),
        ("connection_timeouts", metrics.get_connection_timeouts()),
        ("request_timeouts", metrics.get_request_timeouts()),
        ("retries", metrics.get_retries_num()),
    ]);
}
