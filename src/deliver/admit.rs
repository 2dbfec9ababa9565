//! Whether a request may be made now: the client's share, the endpoint's limiter, the node's
//! places, the node's lease.

use tokio::time::timeout;

use super::{
    arrival::Source,
    engine::Engine,
    limiter::{EndpointLimiter, Postponed, SendPermit},
    places::{Refusal, RequestPlace},
    settle::Settle,
    taken_up::Load,
};
use crate::{
    model::{Delivery, Webhook},
    telemetry,
};

/// What the limits decide.
pub(super) enum Admission {
    /// The request may be made; it has one of the node's places.
    Granted(SendPermit, RequestPlace),
    /// Later.
    Postponed(Postponed),
    /// Not on this node, or not soon.
    Refused(Settle),
    /// Another node may have the message by now.
    HandedOutElsewhere,
}

impl Engine {
    /// Whether a message would hold for long what its client has too much of already.
    pub(super) fn is_over_share(&self, load: Load, webhook: &Webhook) -> bool {
        load == Load::Crowding && self.limiters.of(webhook).holds_long()
    }

    /// Waits until the endpoint's limiter, the node's places and the node's lease allow a request.
    pub(super) async fn admit(
        &self,
        delivery: &Delivery,
        webhook: &Webhook,
        source: &Source,
        load: Load,
    ) -> Admission {
        let limiter = self.limiters.of(webhook);
        if self.is_over_share(load, webhook) {
            return leave_room(&limiter, delivery);
        }
        let acquired = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Admission::Refused(Settle::HandOver),
            acquired = limiter.acquire(delivery.priority) => acquired,
            () = limiter.until_it_holds_long(), if load == Load::Crowding => {
                return leave_room(&limiter, delivery);
            }
        };
        let permit = match acquired {
            Ok(permit) => permit,
            Err(postponed) => return Admission::Postponed(postponed),
        };
        let place = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Admission::Refused(Settle::HandOver),
            place = self.place_of_node(delivery, &limiter) => place,
        };
        let place = match place {
            Ok(place) => place,
            Err(postponed) => return Admission::Postponed(postponed),
        };
        // Others may consider this node down: first they must see that it lives.
        let lease = timeout(
            self.shared.deliver.lane_wait,
            self.shared.membership.current(),
        );
        let is_current = tokio::select! {
            biased;
            // A node that leaves is not current any more.
            () = self.cancel.cancelled() => return Admission::Refused(Settle::HandOver),
            lease = lease => lease.is_ok(),
        };
        if !is_current {
            return Admission::Refused(Settle::GiveBackLater);
        }
        if let Err(postponed) = limiter.recheck_rate(&permit, delivery.priority) {
            return Admission::Postponed(postponed);
        }
        if !self.is_kept_for_an_attempt(source).await {
            return Admission::HandedOutElsewhere;
        }
        if self.cancel.is_cancelled() {
            return Admission::Refused(Settle::HandOver);
        }
        Admission::Granted(permit, place)
    }

    /// Whether the server keeps a message for this node until an attempt is over. One that waited
    /// for long, because the machine is busy, is kept once more: were it given back instead, it
    /// might never be attempted.
    async fn is_kept_for_an_attempt(&self, source: &Source) -> bool {
        let ack_wait = self.shared.ack_wait;
        let kept_for = ack_wait.saturating_sub(self.shared.deliver.timeout);
        let incoming = &source.incoming;
        if incoming.is_ours(kept_for) {
            return true;
        }
        // A word that comes later may be about a message that was handed out again meanwhile.
        incoming.is_ours(ack_wait) && incoming.keep().await && incoming.is_ours(ack_wait)
    }

    /// A place among the requests of this node, within the client's share.
    async fn place_of_node(
        &self,
        delivery: &Delivery,
        limiter: &EndpointLimiter,
    ) -> Result<RequestPlace, Postponed> {
        let priority = delivery.priority;
        let wait = self.shared.deliver.lane_wait;
        let place = self.shared.places.take(delivery.client_id, priority, wait);
        place.await.map_err(|refusal| {
            let cause = match refusal {
                Refusal::NoneFree => "node",
                Refusal::OverShare => {
                    telemetry::over_share("places");
                    "share"
                }
            };
            limiter.park(cause, priority)
        })
    }
}

/// Parks a message whose client has too much taken up.
fn leave_room(limiter: &EndpointLimiter, delivery: &Delivery) -> Admission {
    telemetry::over_share("taken_up");
    Admission::Postponed(limiter.park_for_others(delivery.priority))
}
