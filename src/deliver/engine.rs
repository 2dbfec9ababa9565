//! Decides about one message and does it.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    lane::{Lane, Park, Turn},
    lanes::Lanes,
    notices::Notices,
    route::{Route, route},
    steps,
};
use crate::{
    bus::{Bus, Error, Incoming, Work},
    config, egress,
    model::{Attempt, Delivery, DisabledReason, Outcome, Timestamp, Verdict, Webhook},
    policy::{self, Schedule},
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
    /// It can never be read.
    Undecodable,
    /// Ack it once this is durable.
    Publish(Box<Attempt>),
}

/// What all loops share.
pub(super) struct Engine {
    bus: Bus,
    egress: egress::Client,
    lanes: Lanes,
    notices: Arc<Notices>,
    /// Requests under way on this node.
    node: Arc<Semaphore>,
    lane_wait: Duration,
    schedule: Schedule,
    cancel: CancellationToken,
}

impl Engine {
    pub(super) fn new(
        bus: Bus,
        egress: egress::Client,
        notices: Arc<Notices>,
        settings: &config::Deliver,
        cancel: CancellationToken,
    ) -> Self {
        let schedule = Schedule { base: settings.retry_base, jitter: settings.retry_jitter, max: settings.retry_max };
        let node = Arc::new(Semaphore::new(settings.in_flight_max));
        Self {
            bus,
            egress,
            lanes: Lanes::new(settings.clone()),
            notices,
            node,
            lane_wait: settings.lane_wait,
            schedule,
            cancel,
        }
    }

    /// Takes a message as far as it can go now. On an error nothing that matters is lost by trying it all again.
    pub(super) async fn process(&self, work: Work, incoming: &Incoming) -> Result<Settle, Error> {
        let (delivery, webhook) = match route(&self.bus, work, incoming).await? {
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
            turn = lane.turn() => turn,
        };
        let turn = match turn {
            Ok(turn) => turn,
            Err(park) => return self.park(&delivery, park).await,
        };
        let permit = tokio::select! {
            biased;
            () = self.cancel.cancelled() => return Ok(Settle::GiveBack),
            permit = timeout(self.lane_wait, self.node.acquire()) => permit,
        };
        let Ok(Ok(permit)) = permit else { return self.park(&delivery, lane.park("node")).await };
        let attempt = self.attempt(delivery, &webhook, &lane, turn).await;
        // The request is over: let the next one begin while this one is written down.
        drop(permit);
        self.follow(attempt).await
    }

    async fn attempt(&self, delivery: Delivery, webhook: &Webhook, lane: &Lane, turn: Turn) -> (Attempt, Verdict) {
        let started_at = now();
        let number = delivery.attempts.saturating_add(1);
        let headers = wire::request_headers(webhook, delivery.event_id, number, started_at, &delivery.body);
        let answer = {
            let _under_way = UnderWay::new();
            self.egress.post(&webhook.url, &headers, delivery.body.clone()).await
        };
        lane.ended(turn, answer.latency, steps::ails(answer.outcome));
        telemetry::attempt(answer.outcome, answer.latency);
        let now = now();
        let asked = answer.retry_after.as_deref().and_then(|text| policy::parse_retry_after(text, now));
        let tries = delivery.tries.saturating_add(1);
        let verdict = policy::verdict(
            answer.outcome,
            tries,
            webhook.max_retries,
            asked,
            now,
            &self.schedule,
            rand::random::<f64>(),
        );
        if verdict == Verdict::Delivered {
            telemetry::end_to_end(now.since(delivery.created_at));
        }
        (steps::attempt(delivery, &answer, verdict, started_at), verdict)
    }

    /// What the verdict asks for, durable before the attempt is.
    async fn follow(&self, (attempt, verdict): (Attempt, Verdict)) -> Result<Settle, Error> {
        match verdict {
            Verdict::Delivered => {}
            Verdict::Retry { at } => {
                self.bus.park(&steps::next(&attempt.delivery), at).await?;
                telemetry::parked("retry");
            }
            Verdict::Failed { disable } => {
                let reason = attempt.error.clone().unwrap_or_else(|| attempt.outcome.as_str().to_owned());
                let delivery = steps::next(&attempt.delivery);
                let letter = DeadLetter { delivery, reason, http_status: attempt.http_status, at: attempt.ended_at() };
                self.bus.dead_letter(&letter).await?;
                telemetry::dead_letter(attempt.outcome.as_str());
                self.notices.dead_letter(&attempt.delivery);
                if disable {
                    self.disable(&attempt.delivery).await;
                }
            }
        }
        Ok(publish(attempt))
    }

    async fn park(&self, delivery: &Delivery, park: Park) -> Result<Settle, Error> {
        let at = now().after(park.at.saturating_duration_since(Instant::now()));
        self.bus.park(delivery, at).await?;
        telemetry::parked(park.cause);
        Ok(Settle::Ack)
    }

    async fn hold(&self, delivery: Delivery) -> Result<Settle, Error> {
        self.bus.hold(&delivery).await?;
        telemetry::held();
        // Its owner may have resumed it, and what was held released, between our look and the hold: look again.
        let webhook = self.bus.registry().fresh(delivery.client_id, &delivery.phone).await?;
        if webhook.is_some_and(|webhook| webhook.id == delivery.webhook_id && webhook.takes_deliveries()) {
            self.bus.release_held(delivery.client_id, &delivery.phone, delivery.webhook_id).await?;
        }
        Ok(steps::held(delivery, now()).map_or(Settle::Ack, publish))
    }

    async fn disable(&self, delivery: &Delivery) {
        for _ in 0..DISABLE_TRIES {
            let change = |webhook: &mut Webhook| {
                webhook.disabled = Some(DisabledReason::Gone);
                webhook.updated_at = now();
            };
            match self.bus.registry().update(delivery.client_id, delivery.webhook_id, change).await {
                Ok(webhook) => {
                    if let Some(webhook) = webhook {
                        self.notices.disabled(&webhook, DisabledReason::Gone).await;
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
    Settle::Publish(Box::new(attempt))
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
