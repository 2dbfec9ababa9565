//! What goes on beside the requests: connecting until it works, and writing out what is kept for a
//! moment.

use std::{
    sync::{Arc, PoisonError, Weak},
    time::Duration,
};

use scylla::client::session::Session;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{Connected, Slot};
use crate::{config, telemetry};

const RECONNECT: Duration = Duration::from_secs(1);
const EVERY: Duration = Duration::from_secs(10);
/// Sums are written every so many ticks: a webhook costs a statement per minute in which it got
/// anything.
const SUMS: u32 = 6;

/// Runs until the store is dropped.
pub(super) async fn tend(slot: Weak<Slot>, settings: config::Cql, retention: Duration) {
    loop {
        let Some(present) = slot.upgrade() else {
            return;
        };
        let connected = present
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .ok()
            .map(Arc::clone);
        drop(present);
        if connected.is_some() {
            break;
        }
        sleep(RECONNECT).await;
        let next = Connected::new(&settings, retention).await.map(Arc::new);
        if let Err(error) = &next {
            let error = telemetry::report(error);
            tracing::warn!(error, "the store is not there yet");
        }
        let Some(present) = slot.upgrade() else {
            return;
        };
        *present.write().unwrap_or_else(PoisonError::into_inner) = next;
    }
    tracing::info!("the store answers");
    let mut ticks = interval(EVERY);
    // After a store that hung, one flush is enough.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for tick in 0_u32.. {
        ticks.tick().await;
        let Some(present) = slot.upgrade() else {
            return;
        };
        let connected = present
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .ok()
            .map(Arc::clone);
        drop(present);
        let Some(connected) = connected else { return };
        report(&connected.session);
        if tick % SUMS == SUMS - 1
            && let Err(error) = connected.flush_hours().await
        {
            // Nothing is lost: the next flush tries again.
            let error = telemetry::report(&error);
            tracing::warn!(error, "the sums of webhooks could not be written yet");
        }
    }
}

/// The driver's own figures, as ours.
fn report(session: &Session) {
    let metrics = session.get_metrics();
    telemetry::cql_driver(&[
        ("connections", metrics.get_total_connections()),
        ("connection_timeouts", metrics.get_connection_timeouts()),
        ("request_timeouts", metrics.get_request_timeouts()),
        ("retries", metrics.get_retries_num()),
    ]);
}
