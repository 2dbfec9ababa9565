//! Stops new messages while the streams for retries and chat queues are nearly full.

use std::{sync::Arc, time::Duration};

use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::shared::Shared;
use crate::telemetry;

const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// How full WA_CHAT may be, in tenths of its limit: the messages that are in flight when that is
/// noticed still find room.
const CHAT_QUEUE_TENTHS_MAX: u64 = 9;

/// Whether new messages may be taken up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backpressure {
    /// Retries and chat queues have room.
    Open,
    /// They have none: a failed message could not be stored.
    Closed,
}

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
        let Ok(in_line) = shared.bus.chat_queue_bytes().await else {
            continue;
        };
        telemetry::chat_queue_bytes(in_line);
        let has_room = bytes < shared.deliver.retry_bytes_max
            && in_line < shared.chat_queue_bytes_max / 10 * CHAT_QUEUE_TENTHS_MAX;
        let state = if has_room {
            Backpressure::Open
        } else {
            Backpressure::Closed
        };
        if shared.backpressure.send_replace(state) != state {
            tracing::warn!(
                bytes,
                in_line,
                ?state,
                "retries and deliver.retry_bytes_max, lines and bus.message_bytes_max"
            );
        }
    }
}
