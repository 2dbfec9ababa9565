//! The way of one message: route, skip, order, admit, attempt, follow.

use std::sync::Arc;

use super::{
    admit::Admission,
    arrival::{Arrival, Content, Source},
    chat::{DeliveryOrigin, InFlightSlot, NotNow, Place, Ticket, Waited},
    engine::Engine,
    route::{Route, route},
    settle::{NoRoom, Settle, Step},
    steps,
    taken_up::{Load, TakenUp},
};
use crate::{
    bus::{Error, Redelivery, Work},
    model::{Delivery, Webhook},
    telemetry,
};

/// A message whose turn in its chat it is; no slot when the order does not matter.
struct Placed {
    webhook: Arc<Webhook>,
    slot: Option<InFlightSlot>,
}

impl Engine {
    /// Takes a message as far as it can go now, and settles it.
    pub(super) async fn handle(&self, arrival: Arrival, taken: TakenUp) {
        let Arrival {
            source,
            content,
            ticket,
        } = arrival;
        if source.redelivery() == Redelivery::Again {
            telemetry::redelivered(source.work.as_str());
        }
        let settle = self.process(&source, content, ticket, taken.load()).await;
        let mut settle = settle.unwrap_or_else(|early| early);
        if let Settle::Failed(Error::TooLarge) = settle {
            settle = Box::pin(self.too_large(&source))
                .await
                .unwrap_or_else(Settle::Failed);
        }
        self.settle(source, settle, taken).await;
    }

    /// Takes a message as far as it can go now. After an error nothing is lost by doing all of it
    /// again.
    ///
    /// Thousands wait here for a permit. What may follow is boxed, so that they do not hold memory
    /// for it.
    async fn process(
        &self,
        source: &Source,
        content: Content,
        mut ticket: Option<Ticket>,
        load: Load,
    ) -> Step<Settle> {
        let (delivery, webhook) = Box::pin(self.route(source, content)).await?;
        self.skip(source, &delivery, &webhook).await?;
        let room = self.ensure_room(source, &delivery, ticket.as_mut());
        let _under_way = Box::pin(room).await?;
        let Placed { webhook, slot } = match ticket {
            None => Placed {
                webhook,
                slot: None,
            },
            Some(ticket) => {
                let ticket = if self.is_over_share(load, &webhook) {
                    ticket.without_waiting()
                } else {
                    ticket
                };
                Box::pin(self.place(source, ticket, &delivery, webhook)).await?
            }
        };
        // Only now, so that messages are held in the order of their chat.
        if !webhook.takes_deliveries() {
            return Ok(Box::pin(self.hold(source, delivery, slot)).await?);
        }
        let (permit, place) = match self.admit(&delivery, &webhook, source, load).await {
            Admission::Granted(permit, place) => (permit, place),
            Admission::Postponed(postponed) => {
                return Ok(Box::pin(self.park(&delivery, postponed, slot)).await?);
            }
            Admission::Refused(settle) => {
                // The next node gets it in its place, so nobody need be told.
                if matches!(settle, Settle::HandOver) {
                    abandon(slot);
                }
                return Err(settle);
            }
            Admission::HandedOutElsewhere => {
                abandon(slot);
                return Err(Settle::Forget);
            }
        };
        let (mut attempt, verdict) = match Box::pin(self.attempt(delivery, &webhook, permit)).await
        {
            Ok(attempted) => attempted,
            Err(not_made) => {
                let (delivery, postponed) = *not_made;
                return Ok(Box::pin(self.park(&delivery, postponed, slot)).await?);
            }
        };
        Box::pin(self.follow(&mut attempt, verdict, slot, source.redelivery())).await?;
        Ok(Settle::Publish(Box::new(attempt), Some(place)))
    }

    /// The delivery and its webhook.
    async fn route(&self, source: &Source, content: Content) -> Step<(Delivery, Arc<Webhook>)> {
        match route(self.bus(), content).await? {
            Route::To(delivery, webhook) => Ok((delivery, webhook)),
            Route::Undecodable => Err(Settle::Undecodable),
            Route::WebhookDeleted(delivery) => {
                self.bus().dequeue(&delivery, source.redelivery()).await?;
                let record = steps::webhook_deleted_record(delivery, self.now());
                Err(Settle::publish(record))
            }
            Route::Unrouted => {
                telemetry::unrouted();
                Err(Settle::Ack)
            }
        }
    }

    /// Ends a message here of which nothing is to be sent: the webhook does not want its kind any
    /// more, or the attempt is on record already.
    async fn skip(&self, source: &Source, delivery: &Delivery, webhook: &Webhook) -> Step<()> {
        let redelivery = source.redelivery();
        if !webhook.wants(&delivery.kind) {
            // A new message that was never handed out cannot be in a chat queue.
            if source.work == Work::Retry || redelivery == Redelivery::Again {
                Box::pin(self.bus().dequeue(delivery, redelivery)).await?;
            }
            // It was accepted, so its event ends where its client can see it.
            let record = steps::unwanted_record(delivery.clone(), self.now());
            return Err(Settle::publish(record));
        }
        if redelivery == Redelivery::Again && Box::pin(self.bus().is_recorded(delivery)).await {
            telemetry::spared();
            return Err(Settle::Ack);
        }
        Ok(())
    }

    /// Waits for the message's turn in its chat, or leaves it in the chat's queue.
    async fn place(
        &self,
        source: &Source,
        mut ticket: Ticket,
        delivery: &Delivery,
        webhook: Arc<Webhook>,
    ) -> Step<Placed> {
        let waited = tokio::select! {
            biased;
            // Those that wait are given back in their order, and not queued here.
            () = self.cancel.cancelled() => return Err(Settle::HandOver),
            waited = ticket.wait_for_earlier() => waited,
        };
        let origin = DeliveryOrigin::new(source.work, &source.incoming);
        let slot = match ticket.place(self.bus(), delivery, origin).await? {
            Place::Go(slot) => slot,
            Place::NotNow(NotNow::Queued) => {
                let record = steps::queued_record(delivery.clone(), self.now());
                return Err(record.map_or(Settle::Ack, Settle::publish));
            }
            Place::NotNow(NotNow::Stale) => return Err(Settle::Ack),
            Place::NotNow(NotNow::InFlight) => return Err(Settle::GiveBackLater),
            Place::NotNow(NotNow::NoRoom) => {
                return Err(self.put_off(delivery, NoRoom::InQueue).await?);
            }
        };
        // The webhook may have been paused meanwhile.
        let webhook = match waited {
            Waited::No => webhook,
            Waited::ForEarlier => self.cached(delivery).unwrap_or(webhook),
        };
        Ok(Placed {
            webhook,
            slot: Some(slot),
        })
    }

    /// The webhook of a delivery as the cache has it now.
    fn cached(&self, delivery: &Delivery) -> Option<Arc<Webhook>> {
        self.bus()
            .webhooks()
            .cached_by_phone(delivery.client_id, &delivery.phone)
            .filter(|cached| cached.id == delivery.webhook_id)
    }
}

fn abandon(slot: Option<InFlightSlot>) {
    if let Some(slot) = slot {
        slot.abandon();
    }
}
