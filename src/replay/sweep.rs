//! Finds deliveries that nobody works on, and sends them.
//!
//! What the audit shows as `pending` or `sent` is parked, in hand, held, or waits in its chat. An
//! operator may empty a stream, and there may be faults that nobody knows of. So one node at a time
//! goes through the audit, again and again, and looks whether a stream has what is overdue.
//!
//! It reads little at a time, so that it harms nobody: with a million of waiting retries one round
//! takes an hour.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use super::{
    Error,
    context::Context,
    error::in_time,
    lost::{Rescue, lost_among, rescue},
};
use crate::{
    model::{Attempt, EventFilter, EventStatus, Webhook},
    store::is_last_page,
    telemetry,
};

const LEASE: &str = "sweep";
/// Events in one page.
const PAGE_EVENTS: usize = 100;
/// After each page, and for each event in it.
const PAGE_PAUSE: Duration = Duration::from_millis(5);
const EVENT_PAUSE: Duration = Duration::from_millis(2);

/// Goes through the audit again and again.
pub(super) struct Sweep {
    context: Arc<Context>,
    /// How long something may be overdue.
    patience: Duration,
}

impl Sweep {
    pub(super) fn new(context: Arc<Context>, patience: Duration) -> Self {
        Self { context, patience }
    }

    /// Until this node stops.
    pub(super) async fn run(self) {
        let cancel = &self.context.cancel;
        let pause = self.patience / 2;
        while cancel.run_until_cancelled(sleep(pause)).await.is_some() {
            if let Some(Err(error)) = cancel.run_until_cancelled(self.round()).await {
                telemetry::error("replay", "sweep");
                let error = telemetry::report(&error);
                tracing::warn!(
                    error,
                    "looking for lost deliveries failed; the next time may do"
                );
            }
        }
    }

    /// One round, unless another node makes one now.
    async fn round(&self) -> Result<(), Error> {
        let context = &self.context;
        let Some(lease) = context.bus.acquire_lease(LEASE, &context.node).await? else {
            return Ok(());
        };
        let done = tokio::select! {
            done = self.look_at_all() => done,
            () = lease.keep() => Ok(()),
        };
        lease.release().await;
        done
    }

    async fn look_at_all(&self) -> Result<(), Error> {
        for webhook in self.context.bus.webhooks().all() {
            for status in [EventStatus::Pending, EventStatus::Sent] {
                self.look_at(&webhook, status).await?;
            }
        }
        Ok(())
    }

    async fn look_at(&self, webhook: &Webhook, status: EventStatus) -> Result<(), Error> {
        let Context { bus, store, .. } = &*self.context;
        let filter = EventFilter {
            status: Some(status),
            ..EventFilter::default()
        };
        let mut after = None;
        loop {
            let asked = store.events(webhook.client_id, webhook.id, filter, after, PAGE_EVENTS);
            let events = in_time(asked).await?;
            for lost in lost_among(bus, &**store, &events, self.patience).await? {
                self.rescue(&lost, webhook).await?;
            }
            sleep(PAGE_PAUSE + EVENT_PAUSE * events.len() as u32).await;
            after = events.last().map(|event| event.last().delivery.event_id);
            if is_last_page(&events, PAGE_EVENTS) {
                return Ok(());
            }
        }
    }

    async fn rescue(&self, lost: &Attempt, webhook: &Webhook) -> Result<(), Error> {
        let bus = &self.context.bus;
        let what = match rescue(lost, webhook) {
            Rescue::Send(delivery) => {
                bus.send_lost(&delivery).await?;
                "sent"
            }
            Rescue::GiveUp(delivery, reason) => {
                let attempt = Attempt::abandoned(delivery, reason.to_owned(), bus.now());
                bus.give_up(attempt).await?;
                "given_up"
            }
        };
        telemetry::lost_delivery(what);
        tracing::error!(
            event.id = %lost.delivery.event_id,
            webhook.id = %webhook.id,
            client.id = %webhook.client_id,
            reason = what,
            "a delivery was in no stream"
        );
        Ok(())
    }
}
