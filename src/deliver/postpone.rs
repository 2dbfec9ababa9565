//! What happens to a message that is not attempted now: it is parked for later, or held for a
//! webhook that takes no deliveries.

use std::time::{Duration, Instant};

use super::{
    arrival::Source,
    chat::InFlightSlot,
    engine::Engine,
    limiter::Postponed,
    settle::{Settle, now},
    steps,
};
use crate::{bus::Error, model::Delivery, telemetry};

/// Until a message that found no room in its chat queue tries again.
const NO_ROOM_PAUSE: Duration = Duration::from_secs(30);

impl Engine {
    /// Parks a message until its limiter has a place for it.
    pub(super) async fn park(
        &self,
        delivery: &Delivery,
        postponed: Postponed,
        slot: Option<InFlightSlot>,
    ) -> Result<Settle, Error> {
        if let Some(slot) = &slot {
            slot.later(self.bus()).await?;
        }
        let at = now().after(postponed.at.saturating_duration_since(Instant::now()));
        self.bus().park(delivery, at).await?;
        telemetry::parked(postponed.cause);
        Ok(Settle::Ack)
    }

    /// Parks a message for which there is no room in its chat queue: it waits on its own.
    pub(super) async fn put_off(&self, delivery: &Delivery) -> Result<Settle, Error> {
        self.bus()
            .park(delivery, now().after(NO_ROOM_PAUSE))
            .await?;
        telemetry::parked("line_full");
        Ok(Settle::Ack)
    }

    /// Holds a message whose webhook takes no deliveries.
    pub(super) async fn hold(
        &self,
        source: &Source,
        delivery: Delivery,
        slot: Option<InFlightSlot>,
    ) -> Result<Settle, Error> {
        self.bus()
            .hold(&delivery, source.work, source.incoming.sequence)
            .await?;
        telemetry::held();
        // The next message of the chat comes here, too, and is held behind this one.
        if let Some(slot) = slot {
            slot.done(self.bus(), source.redelivery()).await?;
        }
        // The owner may have resumed the webhook between our look and the hold. The release may
        // then have missed this message: look again.
        let webhook = self
            .bus()
            .webhooks()
            .fetch_by_phone(delivery.client_id, &delivery.phone)
            .await?;
        let its = webhook
            .filter(|webhook| webhook.id == delivery.webhook_id && webhook.takes_deliveries());
        if let Some(webhook) = its {
            self.bus().jobs().request_release(&webhook, now()).await?;
        }
        Ok(steps::held_record(delivery, now()).map_or(Settle::Ack, Settle::publish))
    }
}
