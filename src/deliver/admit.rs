//! Whether a request may be made now: the endpoint's limiter, the node's limit, the node's lease.

use std::sync::Arc;

use tokio::{sync::OwnedSemaphorePermit, time::timeout};

use super::{
    arrival::Source,
    engine::Engine,
    limiter::{Postponed, SendPermit},
    settle::Settle,
};
use crate::model::{Delivery, Priority, Webhook};

/// What the limits decide.
pub(super) enum Admission {
    /// The request may be made; the second permit counts against the node's limit.
    Granted(SendPermit, OwnedSemaphorePermit),
    /// Later.
    Postponed(Postponed),
    /// Not on this node, or not soon.
    Refused(Settle),
    /// Another node may have the message by now.
    HandedOutElsewhere,
}

impl Engine {
    /// Waits until the endpoint's limiter, the node's limit and the node's lease allow a request.
    pub(super) async fn admit(
        &self,
        delivery: &Delivery,
        webhook: &Webhook,
        source: &Source,
    ) -> Admission {
        let limiter = self.limiters.of(webhook);
        let acquired = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Admission::Refused(Settle::GiveBack),
            acquired = limiter.acquire(delivery.priority) => acquired,
        };
        let permit = match acquired {
            Ok(permit) => permit,
            Err(postponed) => return Admission::Postponed(postponed),
        };
        let node_permit = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Admission::Refused(Settle::GiveBack),
            node_permit = self.node_permit(delivery.priority) => node_permit,
        };
        let Some(node_permit) = node_permit else {
            return Admission::Postponed(limiter.park("node", delivery.priority));
        };
        // Others may consider this node down: first they must see that it lives.
        let lease = self.shared.membership.current();
        if timeout(self.shared.deliver.lane_wait, lease).await.is_err() {
            return Admission::Refused(Settle::GiveBackLater);
        }
        if let Err(postponed) = limiter.recheck_rate(&permit, delivery.priority) {
            return Admission::Postponed(postponed);
        }
        // After this time the server hands the message out to another node.
        let deliver = &self.shared.deliver;
        let kept_for = self.shared.ack_wait.saturating_sub(deliver.timeout);
        if !source.incoming.is_ours(kept_for) {
            return Admission::HandedOutElsewhere;
        }
        if self.cancel.is_cancelled() {
            return Admission::Refused(Settle::GiveBack);
        }
        Admission::Granted(permit, node_permit)
    }

    /// A permit among the requests of this node; half of them are for normal priority alone.
    async fn node_permit(&self, priority: Priority) -> Option<OwnedSemaphorePermit> {
        let permits = Arc::clone(&self.shared.permits);
        let permits_max = self.shared.deliver.in_flight_max;
        match priority {
            Priority::Low if permits.available_permits() <= permits_max / 2 => None,
            Priority::Low => permits.try_acquire_owned().ok(),
            Priority::Normal => timeout(self.shared.deliver.lane_wait, permits.acquire_owned())
                .await
                .ok()?
                .ok(),
        }
    }
}
