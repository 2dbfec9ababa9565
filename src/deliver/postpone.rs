//! What happens to a message that is not attempted now: parked for later, or held for a webhook
//! that takes no deliveries.

use std::time::{Duration, Instant};

use super::{
    chat::InFlightSlot,
    engine::Engine,
    limiter::Postponed,
    settle::{Settle, now},
    steps,
};
use crate::{
    bus::{Error, Incoming, Work},
    model::Delivery,
    telemetry,
};

/// Until a message that found no room in its chat queue tries again.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(30);

impl Engine {
    pub(super) async fn park(
        &self,
        delivery: &Delivery,
        park: Postponed,
        head: Option<InFlightSlot>,
    ) -> Result<Settle, Error> {
        if let Some(head) = &head {
            head.later(&self.shared.bus).await?;
        }
        let at = now().after(park.at.saturating_duration_since(Instant::now()));
        self.shared.bus.park(delivery, at).await?;
        telemetry::parked(park.cause);
        Ok(Settle::Ack)
    }

    /// The stream has no room for chat queues: the message waits on its own.
    pub(super) async fn put_off(&self, delivery: &Delivery) -> Result<Settle, Error> {
        self.shared
            .bus
            .park(delivery, now().after(NO_ROOM_PAUSE))
            .await?;
        telemetry::parked("line_full");
        Ok(Settle::Ack)
    }

    pub(super) async fn hold(
        &self,
        delivery: Delivery,
        work: Work,
        incoming: &Incoming,
        head: Option<InFlightSlot>,
    ) -> Result<Settle, Error> {
        self.shared
            .bus
            .hold(&delivery, work, incoming.sequence)
            .await?;
        telemetry::held();
        // The next message of the chat comes here, too, and is held behind this one.
        if let Some(head) = head {
            head.done(&self.shared.bus, incoming.deliveries > 1).await?;
        }
        // The owner may have resumed the webhook between our look and the hold. The release may
        // then have missed this message: look again.
        let webhook = self
            .shared
            .bus
            .webhooks()
            .fetch_by_phone(delivery.client_id, &delivery.phone)
            .await?;
        let its = webhook
            .filter(|webhook| webhook.id == delivery.webhook_id && webhook.takes_deliveries());
        if let Some(webhook) = its {
            self.shared
                .bus
                .jobs()
                .request_release(&webhook, now())
                .await?;
        }
        Ok(steps::held_record(delivery, now()).map_or(Settle::Ack, Settle::publish))
    }
}
