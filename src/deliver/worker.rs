//! One message from its pull to its settling.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::{
    attempt::{after_attempt, age, attempted, dead_letter, first_delivery, not_attempted},
    lane::{Lanes, Turn},
    results::Settled,
};
use crate::{
    bus::{self, Bus, Incoming, Work},
    config, egress,
    model::{Attempt, Delivery, DisabledReason, Outcome, Timestamp, Verdict, Webhook},
    policy::{self, Schedule},
    telemetry,
    wire::{self, partition, signature_headers},
};

/// Before a message is handed out again that the bus could not settle.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

pub(super) struct Worker {
    bus: Bus,
    client: egress::Client,
    settings: config::Deliver,
    schedule: Schedule,
    lanes: Lanes,
    in_flight: Semaphore,
    results: Vec<mpsc::Sender<Settled>>,
    cancel: CancellationToken,
}

/// How a message ends.
enum End {
    /// Nothing follows from it.
    Ack,
    /// Once this is stored.
    Result(Box<Attempt>),
    /// It can never be read.
    Term(&'static str),
    /// Not now.
    Nak(Option<Duration>),
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

/// Counts a request for as long as it lives.
struct InFlight;

impl InFlight {
    fn new() -> Self {
        telemetry::inflight(1);
        Self
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        telemetry::inflight(-1);
    }
}

impl Worker {
    pub(super) fn new(
        bus: Bus,
        client: egress::Client,
        settings: config::Deliver,
        results: Vec<mpsc::Sender<Settled>>,
        cancel: CancellationToken,
    ) -> Self {
        Self {
            schedule: Schedule { base: settings.retry_base, jitter: settings.retry_jitter, max: settings.retry_max },
            lanes: Lanes::new(settings.clone()),
            in_flight: Semaphore::new(settings.in_flight_max),
            bus,
            client,
            settings,
            results,
            cancel,
        }
    }

    /// Does what there is to do, and settles the message.
    pub(super) async fn handle(&self, work: Work, incoming: Incoming) {
        if incoming.deliveries > 1 {
            telemetry::redelivered(work.as_str());
        }
        let end = self.process(work, &incoming).await.unwrap_or_else(|error| {
            telemetry::error("deliver", "bus");
            tracing::warn!(work = work.as_str(), %error, "a delivery waits for the bus");
            End::Nak(Some(AGAIN_AFTER))
        });
        match end {
            End::Ack => {
                if let Err(error) = incoming.ack().await {
                    tracing::warn!(%error, "a message cannot be acknowledged and will come again");
                }
            }
            End::Nak(after) => incoming.nak(after).await,
            End::Term(reason) => {
                telemetry::error("deliver", "undecodable");
                tracing::error!(work = work.as_str(), reason, "a message cannot be read");
                incoming.term(reason).await;
            }
            End::Result(attempt) => {
                let queue = &self.results[usize::from(partition(attempt.delivery.client_id, &attempt.delivery.phone))];
                // Closed only when the process ends; then the message comes again.
                let _ = queue.send(Settled { attempt: *attempt, incoming }).await;
            }
        }
    }

    async fn process(&self, work: Work, incoming: &Incoming) -> Result<End, bus::Error> {
        let (delivery, webhook) = if work == Work::Message {
            let Ok(message) = wire::decode_message(incoming.payload()) else { return Ok(End::Term("undecodable")) };
            let Some(webhook) = self.bus.registry().find(message.client_id, &message.phone).await? else {
                telemetry::unrouted();
                return Ok(End::Ack);
            };
            (first_delivery(&message, &webhook, incoming.published_at), webhook)
        } else {
            let Ok(delivery) = wire::decode_delivery(incoming.payload()) else { return Ok(End::Term("undecodable")) };
            let Some(webhook) = self.bus.registry().get(delivery.client_id, delivery.webhook_id).await? else {
                return Ok(End::Result(Box::new(not_attempted(delivery, Outcome::WebhookGone, now()))));
            };
            (delivery, webhook)
        };
        if webhook.takes_deliveries() { self.deliver(delivery, webhook).await } else { self.hold(delivery).await }
    }

    async fn deliver(&self, delivery: Delivery, webhook: Arc<Webhook>) -> Result<End, bus::Error> {
        let lane = self.lanes.of(&webhook);
        let turn = tokio::select! {
            // What has not begun goes to another node.
            () = self.cancel.cancelled() => return Ok(End::Nak(None)),
            turn = lane.turn(self.settings.lane_wait) => turn,
        };
        let permit = match turn {
            Turn::Go(permit) => permit,
            Turn::Park(wait, cause) => {
                telemetry::parked(cause);
                self.bus.park(&delivery, now().after(wait)).await?;
                return Ok(End::Ack);
            }
        };
        let (attempt, verdict) = {
            let _node_permit = self.in_flight.acquire().await.expect("the semaphore is never closed");
            let _counted = InFlight::new();
            self.attempt(delivery, &webhook).await
        };
        lane.ended(attempt.outcome, Duration::from_millis(attempt.latency_ms.into()));
        drop(permit);
        self.follow_up(&attempt, verdict).await?;
        Ok(End::Result(Box::new(attempt)))
    }

    async fn attempt(&self, delivery: Delivery, webhook: &Webhook) -> (Attempt, Verdict) {
        let started_at = now();
        let secrets = webhook.signing_secrets(started_at);
        let headers = signature_headers(delivery.event_id, started_at, secrets, &delivery.body);
        let answer = self.client.post(&webhook.url, &headers, delivery.body.clone()).await;
        telemetry::attempt(answer.outcome, answer.latency);
        let ended_at = now();
        let retry_after = answer.retry_after.as_deref().and_then(|text| policy::parse_retry_after(text, ended_at));
        let verdict = policy::verdict(
            answer.outcome,
            delivery.tries.saturating_add(1),
            webhook.max_retries,
            retry_after,
            ended_at,
            &self.schedule,
            rand::random(),
        );
        if verdict == Verdict::Delivered {
            telemetry::end_to_end(age(&delivery, ended_at));
        }
        (attempted(delivery, started_at, answer, verdict), verdict)
    }

    /// Makes durable what follows from an attempt.
    async fn follow_up(&self, attempt: &Attempt, verdict: Verdict) -> Result<(), bus::Error> {
        match verdict {
            Verdict::Delivered => Ok(()),
            Verdict::Retry { at } => {
                telemetry::parked("retry");
                self.bus.park(&after_attempt(&attempt.delivery), at).await
            }
            Verdict::Failed { disable } => {
                telemetry::dead_letter(attempt.outcome.as_str());
                self.bus.dead_letter(&dead_letter(attempt)).await?;
                if disable {
                    let Delivery { client_id, webhook_id, .. } = attempt.delivery;
                    let disable = |webhook: &mut Webhook| {
                        webhook.disabled = Some(DisabledReason::Gone);
                        webhook.updated_at = now();
                    };
                    self.bus.registry().update(client_id, webhook_id, disable).await?;
                    tracing::info!(webhook.id = %webhook_id, "disabled: the endpoint answered 410");
                }
                Ok(())
            }
        }
    }

    /// Keeps a delivery for later. The registry is asked before and after, so that no delivery is left behind by an
    /// activation that happens meanwhile: whoever activates releases what was held before, this one what came after.
    async fn hold(&self, delivery: Delivery) -> Result<End, bus::Error> {
        let registry = self.bus.registry();
        let is_mine = |webhook: &Arc<Webhook>| webhook.id == delivery.webhook_id && webhook.takes_deliveries();
        if let Some(webhook) = registry.fresh(delivery.client_id, &delivery.phone).await?.filter(is_mine) {
            return self.deliver(delivery, webhook).await;
        }
        telemetry::held();
        self.bus.hold(&delivery).await?;
        if registry.fresh(delivery.client_id, &delivery.phone).await?.is_some_and(|webhook| is_mine(&webhook)) {
            self.bus.release_held(delivery.client_id, &delivery.phone, delivery.webhook_id).await?;
        }
        // An event that was attempted before keeps the attempt's own word on where it stands.
        Ok(if delivery.attempts == 0 {
            End::Result(Box::new(not_attempted(delivery, Outcome::Held, now())))
        } else {
            End::Ack
        })
    }
}
