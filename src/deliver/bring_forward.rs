//! Moves parked messages to earlier slots once their endpoint is well again.

use std::{sync::Arc, time::Instant};

use futures_util::{StreamExt as _, stream};

use super::{
    engine::Engine,
    limiter::{EndpointLimiter, ParkedMessage},
};
use crate::{bus::Bus, model::ClientId, tasks::TaskKind, telemetry};

/// Messages of one endpoint that are moved at once. Each is in memory meanwhile.
const MOVED_AT_ONCE: usize = 4;

impl Engine {
    /// Starts to move what is parked further ahead than this endpoint needs, if anything is.
    pub(super) fn bring_forward(&self, client: ClientId, limiter: &Arc<EndpointLimiter>) {
        let Some(backlog) = limiter.take_backlog() else {
            return;
        };
        let bus = self.shared.bus.clone();
        let limiter = Arc::clone(limiter);
        self.shared.tasks.once(TaskKind::BringForward, async move {
            stream::iter(backlog)
                .for_each_concurrent(MOVED_AT_ONCE, |message| {
                    move_earlier(&bus, client, &limiter, message)
                })
                .await;
        });
    }
}

/// Moves one message to the next slot, if that is earlier.
pub(super) async fn move_earlier(
    bus: &Bus,
    client: ClientId,
    limiter: &EndpointLimiter,
    message: ParkedMessage,
) {
    let event = message.event;
    let sequence = message.sequence;
    let Some(slot) = limiter.earlier_slot(message) else {
        return;
    };
    let at = bus
        .now()
        .after(slot.saturating_duration_since(Instant::now()));
    match bus.park_earlier(client, event, sequence, at).await {
        Ok(Some(sequence)) => {
            telemetry::brought_forward();
            // A message that missed a second change of the slots is early enough.
            let _ = limiter.remember(event, sequence, slot);
        }
        // It came back meanwhile, or was taken out.
        Ok(None) => {}
        // It comes back in its old slot.
        Err(_) => telemetry::error("deliver", "bring_forward"),
    }
}
