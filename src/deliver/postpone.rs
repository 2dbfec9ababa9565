//! What happens to a message that is not attempted now: it is parked for later, or held for a
//! webhook that takes no deliveries.

use std::time::{Duration, Instant};

use super::{
    arrival::Source,
    bring_forward::move_earlier,
    chat::{InFlightSlot, Ticket},
    engine::Engine,
    limiter::Postponed,
    settle::{NoRoom, Settle, Step},
    steps,
};
use crate::{
    bus::{Error, Redelivery, UnderWay, Work},
    model::{Delivery, Priority},
    telemetry,
};

/// What is stored of a delivery beside its body.
const ENVELOPE_BYTES: u64 = 1024;
/// Until a message that found no room in its chat queue tries again.
const NO_ROOM_IN_QUEUE_PAUSE: Duration = Duration::from_secs(30);
/// Until one that found no room among the held ones does.
const NO_ROOM_TO_HOLD_PAUSE: Duration = Duration::from_secs(20);

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
        let at = self
            .now()
            .after(postponed.at.saturating_duration_since(Instant::now()));
        let sequence = self.bus().park(delivery, at).await?;
        // Slots of low priority are apart from those of live traffic.
        if delivery.priority == Priority::Normal
            && let Some(limiter) = self.limiters.find(delivery.webhook_id)
        {
            let missed = limiter.remember(delivery.event_id, sequence, postponed.at);
            if let Some(message) = missed {
                move_earlier(self.bus(), delivery.client_id, &limiter, message).await;
            }
        }
        telemetry::parked(postponed.cause);
        Ok(Settle::Ack)
    }

    /// The stream where the message would wait has no room: it waits on its own.
    pub(super) async fn put_off(&self, delivery: &Delivery, full: NoRoom) -> Result<Settle, Error> {
        let (pause, cause) = match full {
            NoRoom::InQueue => (NO_ROOM_IN_QUEUE_PAUSE, "line_full"),
            NoRoom::ToHold => (NO_ROOM_TO_HOLD_PAUSE, "hold_full"),
        };
        self.bus().park(delivery, self.now().after(pause)).await?;
        telemetry::parked(cause);
        Ok(Settle::Ack)
    }

    /// Sees to it that a new message can be parked or queued, if it has to. If its client has its
    /// share of the room for that, the message is held until there is room again.
    pub(super) async fn ensure_room(
        &self,
        source: &Source,
        delivery: &Delivery,
        ticket: Option<&mut Ticket>,
    ) -> Step<Option<UnderWay>> {
        // What was handed out before may be stored already.
        if source.work != Work::Message || source.redelivery() == Redelivery::Again {
            return Ok(None);
        }
        let bytes = delivery.body.len() as u64 + ENVELOPE_BYTES;
        if let Some(under_way) = self.bus().take_up(delivery.client_id, bytes).await {
            return Ok(Some(under_way));
        }
        // Messages are held in the order of their chat.
        if let Some(ticket) = ticket {
            tokio::select! {
                biased;
                () = self.cancel.cancelled() => return Err(Settle::HandOver),
                _ = ticket.wait_for_earlier() => {}
            }
        }
        Err(self.hold_back(source, delivery.clone()).await?)
    }

    async fn hold_back(&self, source: &Source, delivery: Delivery) -> Result<Settle, Error> {
        let held = self
            .bus()
            .hold(&delivery, source.work, source.incoming.stored_as())
            .await;
        match held {
            Err(Error::Full) => return self.put_off(&delivery, NoRoom::ToHold).await,
            held => held?,
        }
        telemetry::over_share("retries");
        telemetry::held();
        Ok(steps::held_back_record(delivery, self.now()).map_or(Settle::Ack, Settle::publish))
    }

    /// Holds a message whose webhook takes no deliveries.
    pub(super) async fn hold(
        &self,
        source: &Source,
        delivery: Delivery,
        slot: Option<InFlightSlot>,
    ) -> Result<Settle, Error> {
        let held = self
            .bus()
            .hold(&delivery, source.work, source.incoming.stored_as())
            .await;
        match held {
            // It stays the head of its chat, like a retry.
            Err(Error::Full) => {
                if let Some(slot) = &slot {
                    slot.later(self.bus()).await?;
                }
                return self.put_off(&delivery, NoRoom::ToHold).await;
            }
            // It is given up, so no other message of its chat waits for it.
            Err(Error::TooLarge) => {
                if let Some(slot) = slot {
                    slot.abandon();
                }
                return Err(Error::TooLarge);
            }
            held => held?,
        }
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
            self.bus()
                .jobs()
                .request_release(&webhook, self.now())
                .await?;
        }
        Ok(steps::held_record(delivery, self.now()).map_or(Settle::Ack, Settle::publish))
    }
}
