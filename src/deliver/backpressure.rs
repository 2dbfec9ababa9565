//! Stops new messages while the streams for retries and chat queues are nearly full.
//!
//! Before that, each client is held back at its own share of them
//! ([`Bus::take_up`](crate::bus::Bus::take_up)), so one client cannot bring this about. It is for
//! what many nodes store at the same moment.

use std::{sync::Arc, time::Duration};

use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::shared::{Backpressure, Shared};
use crate::{bus::Stream, telemetry};

const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// Watches how much the retries take, until cancelled.
pub(super) async fn watch(shared: Arc<Shared>, cancel: CancellationToken) {
    let mut ticks = interval(CHECK_INTERVAL);
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // While it cannot be told, nothing changes.
        let Ok(bytes) = shared.bus.retry_bytes().await else {
            continue;
        };
        telemetry::retry_bytes(bytes);
        let Ok(queued_bytes) = shared.bus.chat_queue_bytes().await else {
            continue;
        };
        telemetry::chat_queue_bytes(queued_bytes);
        let has_room = bytes < shared.bus.closes_at(Stream::Retries)
            && queued_bytes < shared.bus.closes_at(Stream::ChatQueues);
        let state = if has_room {
            Backpressure::Open
        } else {
            Backpressure::Closed
        };
        if shared.backpressure.send_replace(state) != state {
            tracing::warn!(
                retry_bytes = bytes,
                queued_bytes,
                ?state,
                "back-pressure: see deliver.retry_bytes_max and bus.message_bytes_max"
            );
        }
    }
}
