//! Decides about one message: route, skip, order, admit, attempt, follow.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, mpsc},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    arrival::Content,
    chat::{ChatOrder, DeliveryOrigin, InFlightSlot, Place, Ticket},
    limiter::{EndpointLimiters, Postponed, SendPermit},
    results::Settled,
    route::{self, Route},
    settle::{Settle, now},
    shared::{Backpressure, Shared},
    steps,
};
use crate::{
    bus::{Bus, Error, Incoming, Work},
    model::{Delivery, Priority, Webhook},
    policy::Backoff,
    telemetry,
};

/// Messages of one loop in memory at once.
pub(super) const SLOTS: usize = 512;

/// Messages of one loop that may wait for a limiter that hardly moves.
const WAITERS_MAX_WHEN_SLOW: usize = SLOTS / 4;

/// Whether a message ends before it takes its place in its chat.
#[derive(PartialEq, Eq)]
enum Skip {
    Yes,
    No,
}

/// What the order of the chat decides.
enum Order {
    /// It is this message's turn.
    Go(InFlightSlot),
    /// It is not; how to settle it.
    Settle(Settle),
}

/// What the limits decide.
enum Admission {
    /// The request may be made; the second permit counts against the node's limit.
    Granted(SendPermit, OwnedSemaphorePermit),
    /// Later.
    Postponed(Postponed),
    /// Not on this node, or not soon.
    Refused(Settle),
    /// Another node may have the message by now.
    HandedOutElsewhere,
}

/// One partition's deliveries, whichever loop brings them.
pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    limiters: EndpointLimiters,
    chats: Arc<ChatOrder>,
    pub(super) schedule: Backoff,
    cancel: CancellationToken,
}

impl Engine {
    pub(super) fn new(shared: Arc<Shared>, cancel: CancellationToken) -> Self {
        let settings = &shared.deliver;
        let schedule = Backoff {
            base: settings.retry_base,
            jitter: settings.retry_jitter,
            max: settings.retry_max,
        };
        Self {
            limiters: EndpointLimiters::new(
                settings.clone(),
                WAITERS_MAX_WHEN_SLOW,
                shared.tasks.clone(),
            ),
            chats: Arc::default(),
            schedule,
            shared,
            cancel,
        }
    }

    pub(super) fn chats(&self) -> Arc<ChatOrder> {
        Arc::clone(&self.chats)
    }

    /// The partition was another node's until now.
    pub(super) fn taken_over(&self) {
        self.limiters.taken_over(Instant::now());
    }

    /// Waits until back-pressure has this state. Only new messages know back-pressure: their
    /// retries would have to be stored.
    pub(super) async fn wait_for_backpressure(&self, work: Work, wanted: Backpressure) {
        if work == Work::Message {
            // An error means that the node ends.
            let _ = self
                .shared
                .backpressure
                .subscribe()
                .wait_for(|now| *now == wanted)
                .await;
        } else if wanted == Backpressure::Closed {
            std::future::pending::<()>().await;
        }
    }

    /// Where attempts go that are over.
    pub(super) fn results(&self) -> &mpsc::Sender<Settled> {
        &self.shared.results
    }

    /// See [`Membership::term`](crate::bus::Membership::term).
    pub(super) fn term(&self) -> u64 {
        self.shared.membership.term()
    }

    /// Returns once no other node can consider this one down.
    pub(super) async fn wait_until_lease_is_current(&self) {
        self.shared.membership.current().await;
    }

    /// When this node's last silence began, and whether the messages it had then may be handed out
    /// elsewhere by now.
    pub(super) fn last_silence(&self) -> Option<(Instant, bool)> {
        let since = self.shared.membership.silent_since()?;
        Some((since, self.is_stale(since)))
    }

    /// Whether messages that are here since then may have been handed out elsewhere.
    pub(super) fn is_stale(&self, since: Instant) -> bool {
        since.elapsed() * 2 >= self.shared.ack_wait
    }

    /// The bus, for those who read messages for this engine.
    pub(super) fn bus(&self) -> &Bus {
        &self.shared.bus
    }

    /// How long the server keeps a message for this node.
    pub(super) fn ack_wait(&self) -> Duration {
        self.shared.ack_wait
    }

    /// A message's place in the order of its chat, where that matters. To be taken in the order in
    /// which messages come.
    pub(super) fn ticket(&self, content: &Content) -> Option<Ticket> {
        let (webhook, chat) = content.chat()?;
        Some(self.chats.ticket(webhook, chat))
    }

    /// Takes a message as far as it can go now. On an error nothing is lost by doing all of it
    /// again.
    ///
    /// Thousands wait here for a permit. What may follow is boxed, so that they do not hold memory
    /// for it.
    pub(super) async fn process(
        &self,
        work: Work,
        content: Content,
        ticket: Option<Ticket>,
        incoming: &Incoming,
    ) -> Result<Settle, Error> {
        let origin = DeliveryOrigin::new(work, incoming);
        let published_at = incoming.published_at;
        let routed = Box::pin(route::route(&self.shared.bus, content, published_at)).await?;
        let (delivery, mut webhook) = match routed {
            Route::To(delivery, webhook) => (delivery, webhook),
            Route::Undecodable => return Ok(Settle::Undecodable),
            Route::WebhookDeleted(delivery) => {
                Box::pin(self.shared.bus.dequeue(&delivery, origin.redelivered)).await?;
                let record = steps::webhook_deleted_record(delivery, now());
                return Ok(Settle::publish(record));
            }
            Route::Unrouted => {
                telemetry::unrouted();
                return Ok(Settle::Ack);
            }
        };
        if self.skip(work, &delivery, &webhook, origin).await? == Skip::Yes {
            return Ok(Settle::Ack);
        }
        let mut slot = None;
        if let Some(ticket) = ticket {
            let placed = Box::pin(ticket.place(&self.shared.bus, &delivery, origin)).await?;
            match self.order(&delivery, placed).await? {
                Order::Go(granted) => slot = Some(granted),
                Order::Settle(settle) => return Ok(settle),
            }
            webhook = self.webhook_now(&delivery, webhook);
        }
        // Only now, so that messages are held in the order of their chat.
        if !webhook.takes_deliveries() {
            return Box::pin(self.hold(delivery, work, incoming, slot)).await;
        }
        let (permit, node_permit) = match self.admit(&delivery, &webhook, incoming).await {
            Admission::Granted(permit, node_permit) => (permit, node_permit),
            Admission::Postponed(postponed) => {
                return Box::pin(self.park(&delivery, postponed, slot)).await;
            }
            Admission::Refused(settle) => return Ok(settle),
            Admission::HandedOutElsewhere => {
                if let Some(slot) = slot {
                    slot.abandon();
                }
                return Ok(Settle::Forget);
            }
        };
        let (attempt, verdict) = Box::pin(self.attempt(delivery, &webhook, permit)).await;
        Box::pin(self.follow(&attempt, verdict, slot, origin.redelivered)).await?;
        Ok(Settle::Publish(Box::new(attempt), Some(node_permit)))
    }

    /// Whether nothing is to be sent: the webhook does not want this kind, or the attempt is on
    /// record already.
    async fn skip(
        &self,
        work: Work,
        delivery: &Delivery,
        webhook: &Webhook,
        origin: DeliveryOrigin,
    ) -> Result<Skip, Error> {
        if !webhook.wants(&delivery.kind) {
            // A new message that was never handed out cannot be in a chat queue.
            if work == Work::Retry || origin.redelivered {
                Box::pin(self.shared.bus.dequeue(delivery, origin.redelivered)).await?;
            }
            return Ok(Skip::Yes);
        }
        if origin.redelivered && Box::pin(self.shared.bus.is_recorded(delivery)).await {
            telemetry::spared();
            return Ok(Skip::Yes);
        }
        Ok(Skip::No)
    }

    /// What its place in the chat means for a message.
    async fn order(&self, delivery: &Delivery, place: Place) -> Result<Order, Error> {
        Ok(match place {
            Place::Go(slot) => Order::Go(slot),
            Place::Queued => {
                let record = steps::queued_record(delivery.clone(), now());
                Order::Settle(record.map_or(Settle::Ack, Settle::publish))
            }
            Place::Stale => Order::Settle(Settle::Ack),
            Place::UnderWay => Order::Settle(Settle::GiveBackLater),
            Place::NoRoom => Order::Settle(Box::pin(self.put_off(delivery)).await?),
        })
    }

    /// The webhook may have been paused while the message waited for its place in the chat.
    fn webhook_now(&self, delivery: &Delivery, routed: Arc<Webhook>) -> Arc<Webhook> {
        let webhooks = self.shared.bus.webhooks();
        webhooks
            .cached_by_phone(delivery.client_id, &delivery.phone)
            .filter(|cached| cached.id == routed.id)
            .unwrap_or(routed)
    }

    /// Waits until the endpoint's limiter, the node's limit and the node's lease allow a request.
    async fn admit(
        &self,
        delivery: &Delivery,
        webhook: &Webhook,
        incoming: &Incoming,
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
        if !incoming.is_ours(self.shared.ack_wait.saturating_sub(deliver.timeout)) {
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
        let most = self.shared.deliver.in_flight_max;
        match priority {
            Priority::Low if permits.available_permits() <= most / 2 => None,
            Priority::Low => permits.try_acquire_owned().ok(),
            Priority::Normal => timeout(self.shared.deliver.lane_wait, permits.acquire_owned())
                .await
                .ok()?
                .ok(),
        }
    }

    /// Keeps the bytes of what nobody can read.
    pub(super) async fn keep_undecodable(
        &self,
        work: Work,
        incoming: &Incoming,
    ) -> Result<(), Error> {
        self.shared
            .bus
            .undecodable(
                work.stream(),
                incoming.sequence,
                incoming.subject(),
                incoming.payload(),
            )
            .await
    }
}
