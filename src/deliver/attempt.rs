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
    bus::Error,
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
            let _under_way = UnderWay::new();
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

    /// What the verdict asks for, durable before the attempt is. `again`: the message was handed
    /// out before, and that time may have ended between parking the next try and the
    /// acknowledgement.
    pub(super) async fn follow(
        &self,
        attempt: &Attempt,
        verdict: Verdict,
        head: Option<InFlightSlot>,
        again: bool,
    ) -> Result<(), Error> {
        if again && !matches!(verdict, Verdict::Retry { .. }) {
            self.shared.bus.unpark(&attempt.delivery).await?;
        }
        if let (Some(head), Verdict::Retry { .. }) = (&head, verdict) {
            head.later(&self.shared.bus).await?;
        }
        match verdict {
            Verdict::Delivered => {}
            Verdict::Retry { at } => {
                self.shared
                    .bus
                    .park(&steps::after_attempt(&attempt.delivery), at)
                    .await?;
                telemetry::parked("retry");
            }
            Verdict::Failed { .. } => {
                let reason = attempt
                    .error
                    .clone()
                    .unwrap_or_else(|| attempt.outcome.as_str().to_owned());
                let delivery = steps::after_attempt(&attempt.delivery);
                let letter = DeadLetter {
                    delivery,
                    reason,
                    http_status: attempt.http_status,
                    at: attempt.ended_at(),
                };
                self.shared.bus.dead_letter(&letter).await?;
                telemetry::dead_letter(attempt.outcome.as_str());
                self.shared.notices.dead_letter(&attempt.delivery);
            }
        }
        if let Some(head) = head
            && !matches!(verdict, Verdict::Retry { .. })
        {
            head.done(&self.shared.bus, again).await?;
        }
        Ok(())
    }
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
