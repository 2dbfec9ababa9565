//! Stops new messages while the streams for retries and chat queues are nearly full.

use std::{sync::Arc, time::Duration};

use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::shared::{Backpressure, Shared};
use crate::telemetry;

const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// How full WA_CHAT may be, in tenths of its limit: the messages that are in flight when that is
/// noticed still find room.
const CHAT_QUEUE_TENTHS_MAX: u64 = 9;

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
        let has_room = bytes < shared.deliver.retry_bytes_max
            && queued_bytes < shared.chat_queue_bytes_max / 10 * CHAT_QUEUE_TENTHS_MAX;
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
