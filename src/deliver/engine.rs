//! Decides about one message and does it.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use tokio::{sync::OwnedSemaphorePermit, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    fleet::Shared,
    lane::{Lane, Park, Turn},
    lanes::Lanes,
    route::{Route, route},
    steps,
};
use crate::{
    bus::{Error, Incoming, Work},
    model::{Attempt, Delivery, DisabledReason, Outcome, Priority, Timestamp, Verdict, Webhook},
    policy::{self, Plan, Schedule},
    telemetry,
    wire::{self, DeadLetter},
};

/// How often disabling a webhook is tried; after that the next 410 does it.
const DISABLE_TRIES: usize = 3;

/// How the message is to be settled.
pub(super) enum Settle {
    /// All is done and durable.
    Ack,
    /// Nothing was done: another node shall.
    GiveBack,
    /// Nothing was done, and another node may be doing it.
    Forget,
    /// It can never be read.
    Undecodable,
    /// Ack it once this is durable. The permit is kept until then, so that no more than `in_flight_max` requests are
    /// made again when this node dies.
    Publish(Box<Attempt>, Option<OwnedSemaphorePermit>),
}

/// One partition's deliveries, whichever loop brings them.
pub(super) struct Engine {
    shared: Arc<Shared>,
    lanes: Lanes,
    schedule: Schedule,
    cancel: CancellationToken,
}

impl Engine {
    pub(super) fn new(shared: Arc<Shared>, cancel: CancellationToken) -> Self {
        let settings = &shared.deliver;
        let schedule = Schedule { base: settings.retry_base, jitter: settings.retry_jitter, max: settings.retry_max };
        Self { lanes: Lanes::new(settings.clone()), schedule, shared, cancel }
    }

    /// The partition was another node's until now.
    pub(super) fn taken_over(&self) {
        self.lanes.taken_over(Instant::now());
    }

    /// See [`Membership::term`](crate::bus::Membership::term).
    pub(super) fn term(&self) -> u64 {
        self.shared.membership.term()
    }

    /// Whether no other node can have taken over what this one had.
    pub(super) fn is_alone(&self) -> bool {
        self.shared.membership.is_alone()
    }

    /// Takes a message as far as it can go now. On an error nothing that matters is lost by trying it all again.
    pub(super) async fn process(&self, work: Work, incoming: &Incoming, term: u64) -> Result<Settle, Error> {
        let routed = route(&self.shared.bus, work, incoming.payload(), incoming.published_at).await?;
        let (delivery, webhook) = match routed {
            Route::To(delivery, webhook) => (delivery, webhook),
            Route::Undecodable => return Ok(Settle::Undecodable),
            Route::Gone(delivery) => return Ok(publish(steps::gone(delivery, now()))),
            Route::Unrouted => {
                telemetry::unrouted();
                return Ok(Settle::Ack);
            }
        };
        if !webhook.wants(&delivery.kind) {
            return Ok(Settle::Ack);
        }
        if !webhook.takes_deliveries() {
            return self.hold(delivery).await;
        }
        let lane = self.lanes.of(&webhook);
        let turn = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Ok(Settle::GiveBack),
            turn = lane.turn(delivery.priority) => turn,
        };
        let turn = match turn {
            Ok(turn) => turn,
            Err(park) => return self.park(&delivery, park).await,
        };
        let permit = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Ok(Settle::GiveBack),
            permit = self.place(delivery.priority) => permit,
        };
        let Some(permit) = permit else {
            return self.park(&delivery, lane.park("node", delivery.priority)).await;
        };
        // Others may take this node for dead, and be at it already.
        if !self.shared.membership.is_current(term) {
            return Ok(if self.is_alone() { Settle::GiveBack } else { Settle::Forget });
        }
        if self.cancel.is_cancelled() {
            return Ok(Settle::GiveBack);
        }
        let (attempt, verdict) = self.attempt(delivery, &webhook, &lane, turn).await;
        self.follow(&attempt, verdict).await?;
        Ok(Settle::Publish(Box::new(attempt), Some(permit)))
    }

    /// A place among the requests of this node; half of them are for live traffic alone.
    async fn place(&self, priority: Priority) -> Option<OwnedSemaphorePermit> {
        let (permits, most) = (Arc::clone(&self.shared.permits), self.shared.deliver.in_flight_max);
        match priority {
            Priority::Low if permits.available_permits() <= most / 2 => None,
            Priority::Low => permits.try_acquire_owned().ok(),
            Priority::Normal => timeout(self.shared.deliver.lane_wait, permits.acquire_owned()).await.ok()?.ok(),
        }
    }

    /// Keeps the bytes of what nobody can read.
    pub(super) async fn keep_undecodable(&self, work: Work, incoming: &Incoming) -> Result<(), Error> {
        self.shared.bus.undecodable(work.stream(), incoming.sequence, incoming.subject(), incoming.payload()).await
    }

    async fn attempt(&self, delivery: Delivery, webhook: &Webhook, lane: &Lane, turn: Turn) -> (Attempt, Verdict) {
        let started_at = now();
        let number = delivery.attempts.saturating_add(1);
        let headers = wire::request_headers(webhook, delivery.event_id, number, started_at, &delivery.body);
        let answer = {
            let _under_way = UnderWay::new();
            self.shared.egress.post(&webhook.url, &headers, delivery.body.clone()).await
        };
        lane.ended(turn, answer.latency, steps::ails(answer.outcome));
        telemetry::attempt(answer.outcome, answer.latency);
        let now = now();
        let asked = answer.retry_after.as_deref().and_then(|text| policy::parse_retry_after(text, now));
        let tries = delivery.tries.saturating_add(1);
        let plan = match &webhook.retry_schedule[..] {
            [] => Plan::Doubling(webhook.max_retries, &self.schedule),
            listed => Plan::Listed(listed, &self.schedule),
        };
        let verdict = policy::verdict(answer.outcome, tries, &plan, asked, now, rand::random::<f64>());
        // What is replayed may be weeks old, which is no delay.
        if verdict == Verdict::Delivered && delivery.priority == Priority::Normal {
            telemetry::end_to_end(now.since(delivery.created_at));
        }
        (steps::attempt(delivery, &answer, verdict, started_at), verdict)
    }

    /// What the verdict asks for, durable before the attempt is.
    async fn follow(&self, attempt: &Attempt, verdict: Verdict) -> Result<(), Error> {
        match verdict {
            Verdict::Delivered => {}
            Verdict::Retry { at } => {
                self.shared.bus.park(&steps::next(&attempt.delivery), at).await?;
                telemetry::parked("retry");
            }
            Verdict::Failed { disable } => {
                let reason = attempt.error.clone().unwrap_or_else(|| attempt.outcome.as_str().to_owned());
                let delivery = steps::next(&attempt.delivery);
                let letter = DeadLetter { delivery, reason, http_status: attempt.http_status, at: attempt.ended_at() };
                self.shared.bus.dead_letter(&letter).await?;
                telemetry::dead_letter(attempt.outcome.as_str());
                self.shared.notices.dead_letter(&attempt.delivery);
                if disable {
                    self.disable(&attempt.delivery).await;
                }
            }
        }
        Ok(())
    }

    async fn park(&self, delivery: &Delivery, park: Park) -> Result<Settle, Error> {
        let at = now().after(park.at.saturating_duration_since(Instant::now()));
        self.shared.bus.park(delivery, at).await?;
        telemetry::parked(park.cause);
        Ok(Settle::Ack)
    }

    async fn hold(&self, delivery: Delivery) -> Result<Settle, Error> {
        self.shared.bus.hold(&delivery).await?;
        telemetry::held();
        // Its owner may have resumed it, and what was held released, between our look and the hold: look again.
        let webhook = self.shared.bus.registry().fresh(delivery.client_id, &delivery.phone).await?;
        let its = webhook.filter(|webhook| webhook.id == delivery.webhook_id && webhook.takes_deliveries());
        if let Some(webhook) = its {
            self.shared.bus.registry().want_release(&webhook, now()).await?;
        }
        Ok(steps::held(delivery, now()).map_or(Settle::Ack, publish))
    }

    async fn disable(&self, delivery: &Delivery) {
        for _ in 0..DISABLE_TRIES {
            let change = |webhook: &mut Webhook| {
                webhook.disabled = Some(DisabledReason::Gone);
                webhook.updated_at = now();
            };
            match self.shared.bus.registry().update(delivery.client_id, delivery.webhook_id, change).await {
                Ok(webhook) => {
                    if let Some(webhook) = webhook {
                        self.shared.notices.disabled(&webhook, DisabledReason::Gone).await;
                    }
                    tracing::info!(webhook = %delivery.webhook_id.0, outcome = Outcome::Gone.as_str(), "disabled");
                    return;
                }
                Err(error) => tracing::warn!(webhook = %delivery.webhook_id.0, %error, "disabling it failed"),
            }
        }
        telemetry::error("deliver", "disable");
    }
}

fn publish(attempt: Attempt) -> Settle {
    Settle::Publish(Box::new(attempt), None)
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// Counts a request as under way, whatever ends it.
struct UnderWay;

impl UnderWay {
    fn new() -> Self {
        telemetry::inflight(1);
        Self
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        telemetry::inflight(-1);
    }
}
