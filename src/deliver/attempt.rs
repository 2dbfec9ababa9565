//! One request to an endpoint, and what follows from its answer.

use super::{
    chat::InFlightSlot,
    engine::Engine,
    health::HealthSignal,
    limiter::{AttemptResult, SendPermit},
    settle::now,
    steps,
};
use crate::{
    bus::{Error, Redelivery},
    egress::Answer,
    model::{Attempt, Delivery, Priority, Timestamp, Verdict, Webhook},
    policy::{self, RetryPolicy},
    telemetry,
    wire::{self, DeadLetter},
};

impl Engine {
    /// Makes one request and judges its answer.
    pub(super) async fn attempt(
        &self,
        delivery: Delivery,
        webhook: &Webhook,
        permit: SendPermit,
    ) -> (Attempt, Verdict) {
        let started_at = now();
        let number = delivery.attempt_count.saturating_add(1);
        let headers = wire::request_headers(
            webhook,
            delivery.event_id,
            number,
            started_at,
            &delivery.body,
        );
        let answer = {
            let _in_flight = InFlight::new();
            let egress = &self.shared.egress;
            egress
                .post(
                    permit.limiter().target(webhook, egress),
                    &headers,
                    delivery.body.clone(),
                )
                .await
        };
        let result = if steps::is_endpoint_failure(answer.outcome) {
            AttemptResult::Failed
        } else {
            AttemptResult::Reached
        };
        let opened = permit
            .limiter()
            .record_result(permit, answer.latency, result);
        telemetry::attempt(answer.outcome, answer.latency);
        let now = now();
        let verdict = self.judge(webhook, &delivery, &answer, now);
        // What is replayed may be weeks old, which is no delay.
        if verdict == Verdict::Delivered && delivery.priority == Priority::Normal {
            telemetry::end_to_end(now.since(delivery.created_at));
        }
        let health = HealthSignal::of(verdict, opened);
        self.shared.health.note(webhook, health, now).await;
        (
            steps::attempt(delivery, answer, verdict, started_at),
            verdict,
        )
    }

    fn judge(
        &self,
        webhook: &Webhook,
        delivery: &Delivery,
        answer: &Answer,
        now: Timestamp,
    ) -> Verdict {
        let retry_after = answer
            .retry_after
            .as_deref()
            .and_then(|text| policy::parse_retry_after(text, now));
        let plan = match &webhook.retry_schedule[..] {
            [] => RetryPolicy::Doubling(webhook.max_retries, &self.schedule),
            listed => RetryPolicy::Listed(listed, &self.schedule),
        };
        policy::verdict(
            answer.outcome,
            delivery.attempts_this_round.saturating_add(1),
            &plan,
            retry_after,
            now,
            rand::random::<f64>(),
        )
    }

    /// Does what the verdict asks for; it is durable before the attempt is. The node that had a
    /// redelivered message may have stopped between parking its next try and acknowledging it, so a
    /// parked copy is removed.
    pub(super) async fn follow(
        &self,
        attempt: &Attempt,
        verdict: Verdict,
        slot: Option<InFlightSlot>,
        redelivery: Redelivery,
    ) -> Result<(), Error> {
        if let Verdict::Retry { at } = verdict {
            if let Some(slot) = &slot {
                slot.later(self.bus()).await?;
            }
            let next = steps::after_attempt(&attempt.delivery);
            self.bus().park(&next, at).await?;
            telemetry::parked("retry");
            return Ok(());
        }
        if redelivery == Redelivery::Again {
            self.bus().unpark(&attempt.delivery).await?;
        }
        if let Verdict::Failed { .. } = verdict {
            self.dead_letter(attempt).await?;
        }
        if let Some(slot) = slot {
            slot.done(self.bus(), redelivery).await?;
        }
        Ok(())
    }

    /// Puts a delivery that is given up into the dead letters.
    async fn dead_letter(&self, attempt: &Attempt) -> Result<(), Error> {
        let reason = attempt
            .error
            .clone()
            .unwrap_or_else(|| attempt.outcome.as_str().to_owned());
        let letter = DeadLetter {
            delivery: steps::after_attempt(&attempt.delivery),
            reason,
            http_status: attempt.http_status,
            at: attempt.ended_at(),
        };
        self.bus().dead_letter(&letter).await?;
        telemetry::dead_letter(attempt.outcome.as_str());
        self.shared.notices.dead_letter(&attempt.delivery);
        Ok(())
    }
}

/// Counts a request as in flight, however it ends.
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
