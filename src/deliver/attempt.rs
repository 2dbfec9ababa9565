//! One request to an endpoint, and what follows from its answer.

use std::time::Duration;

use super::{
    chat::InFlightSlot,
    engine::Engine,
    health::HealthSignal,
    limiter::{AttemptResult, Postponed, SendPermit},
    steps,
};
use crate::{
    bus::{self, Error, Redelivery},
    egress::{Answer, Post},
    model::{Attempt, Delivery, Outcome, Priority, Timestamp, Verdict, Webhook},
    policy::{self, RetryPolicy},
    telemetry,
    wire::{self, DeadLetter},
};

impl Engine {
    /// Makes one request and judges its answer. When none could be made and the endpoint is not to
    /// blame, nothing counts against it: the delivery comes back, to be made later.
    pub(super) async fn attempt(
        &self,
        delivery: Delivery,
        webhook: &Webhook,
        permit: SendPermit,
    ) -> Result<(Attempt, Verdict), Box<(Delivery, Postponed)>> {
        let started_at = self.now();
        let number = delivery.attempt_count.saturating_add(1);
        let headers = wire::request_headers(
            webhook,
            delivery.event_id,
            number,
            started_at,
            &delivery.body,
        );
        let limiter = permit.limiter();
        let posted = {
            let _in_flight = InFlight::new();
            let egress = &self.shared.egress;
            let post = Post {
                client: webhook.client_id,
                target: limiter.target(webhook, egress),
                headers: &headers,
                body: delivery.body.clone(),
            };
            egress.post(post).await
        };
        let answer = match posted {
            Ok(answer) => answer,
            Err(why) => {
                telemetry::error("egress", why.as_str());
                let postponed = limiter.park(why.as_str(), delivery.priority);
                return Err(Box::new((delivery, postponed)));
            }
        };
        let result = if steps::is_endpoint_failure(answer.outcome) {
            AttemptResult::Failed
        } else {
            AttemptResult::Reached
        };
        let now = self.now();
        let retry_after = retry_after(&answer, now);
        let pause = self.pause(&answer, retry_after);
        let opened = limiter.record_result(permit, answer.latency, result, pause);
        self.bring_forward(webhook.client_id, &limiter);
        telemetry::attempt(answer.cause, answer.latency);
        let verdict = self.judge(webhook, &delivery, answer.outcome, retry_after, now);
        // What is replayed may be weeks old, which is no delay.
        if verdict == Verdict::Delivered && delivery.priority == Priority::Normal {
            telemetry::end_to_end(now.since(delivery.created_at));
        }
        let mut health = HealthSignal::of(verdict);
        if opened {
            health = health.with_open_breaker();
        }
        self.shared.health.note(webhook, health, now).await;
        let attempt = steps::attempt(delivery, answer, verdict, started_at);
        Ok((attempt, verdict))
    }

    /// For how long the endpoint asked for no more requests, of whatever message.
    fn pause(&self, answer: &Answer, retry_after: Option<Duration>) -> Option<Duration> {
        let is_about_the_endpoint = matches!(answer.http_status, Some(429 | 503));
        retry_after
            .filter(|pause| is_about_the_endpoint && !pause.is_zero())
            .map(|pause| pause.min(self.schedule.max))
    }

    fn judge(
        &self,
        webhook: &Webhook,
        delivery: &Delivery,
        outcome: Outcome,
        retry_after: Option<Duration>,
        now: Timestamp,
    ) -> Verdict {
        let plan = match &webhook.retry_schedule[..] {
            [] => RetryPolicy::Doubling(webhook.max_retries, &self.schedule),
            listed => RetryPolicy::Listed(listed, &self.schedule),
        };
        policy::verdict(
            outcome,
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
        attempt: &mut Attempt,
        verdict: Verdict,
        slot: Option<InFlightSlot>,
        redelivery: Redelivery,
    ) -> Result<(), Error> {
        let is_retried = match verdict {
            Verdict::Retry { at } => self.retry_at(attempt, at, slot.as_ref()).await?,
            Verdict::Delivered | Verdict::Failed { .. } => false,
        };
        if is_retried {
            return Ok(());
        }
        if redelivery == Redelivery::Again {
            self.bus().unpark(&attempt.delivery).await?;
        }
        if verdict != Verdict::Delivered {
            self.bus().dead_letter(&DeadLetter::of(attempt)).await?;
            telemetry::dead_letter(attempt.outcome.as_str());
            self.shared.notices.dead_letter(&attempt.delivery);
        }
        if let Some(slot) = slot {
            slot.done(self.bus(), redelivery).await?;
        }
        Ok(())
    }

    /// Whether the next attempt is parked. A delivery that nats-server does not take has none: then
    /// this attempt is the last.
    async fn retry_at(
        &self,
        attempt: &mut Attempt,
        at: Timestamp,
        slot: Option<&InFlightSlot>,
    ) -> Result<bool, Error> {
        if let Some(slot) = slot {
            slot.later(self.bus()).await?;
        }
        match self.bus().park(&attempt.delivery.after_attempt(), at).await {
            Ok(_) => {
                telemetry::parked("retry");
                Ok(true)
            }
            Err(Error::TooLarge) => {
                steps::make_last(attempt, bus::TOO_LARGE);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

fn retry_after(answer: &Answer, now: Timestamp) -> Option<Duration> {
    let text = answer.retry_after.as_deref()?;
    policy::parse_retry_after(text, now)
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
