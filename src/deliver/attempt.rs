//! Pure pieces: what to send, and what an answer makes of it.

use std::time::Duration;

use crate::{
    egress::Answer,
    model::{Attempt, Delivery, EventId, EventStatus, Message, Outcome, Timestamp, Verdict, Webhook},
    wire::{DeadLetter, webhook_body},
};

/// The first delivery of a message that was published at this time.
pub(super) fn first_delivery(message: &Message, webhook: &Webhook, published_at: Timestamp) -> Delivery {
    Delivery {
        event_id: EventId::derive(
            published_at,
            webhook.id,
            &message.chat,
            &message.from,
            &message.message_id,
            &message.kind,
        ),
        webhook_id: webhook.id,
        client_id: message.client_id,
        phone: message.phone.clone(),
        message_id: message.message_id.clone(),
        kind: message.kind.clone(),
        created_at: published_at,
        body: webhook_body(message),
        attempts: 0,
        tries: 0,
    }
}

/// The same delivery after one more attempt.
pub(super) fn after_attempt(delivery: &Delivery) -> Delivery {
    Delivery {
        attempts: delivery.attempts.saturating_add(1),
        tries: delivery.tries.saturating_add(1),
        ..delivery.clone()
    }
}

/// An attempt as the audit keeps it.
pub(super) fn attempted(delivery: Delivery, started_at: Timestamp, answer: Answer, verdict: Verdict) -> Attempt {
    let unanswered = answer.request_written && answer.http_status.is_none();
    let (status, next_retry_at) = match verdict {
        Verdict::Delivered => (EventStatus::Delivered, None),
        Verdict::Retry { at } if unanswered => (EventStatus::Sent, Some(at)),
        Verdict::Retry { at } => (EventStatus::Pending, Some(at)),
        Verdict::Failed { .. } => (EventStatus::Failed, None),
    };
    Attempt {
        number: delivery.attempts.saturating_add(1),
        delivery,
        outcome: answer.outcome,
        status,
        http_status: answer.http_status,
        response: answer.response,
        error: answer.error,
        started_at,
        latency_ms: u32::try_from(answer.latency.as_millis()).unwrap_or(u32::MAX),
        next_retry_at,
    }
}

/// What stands in for an attempt where none is made: the delivery waits, or its webhook is gone.
pub(super) fn not_attempted(delivery: Delivery, outcome: Outcome, now: Timestamp) -> Attempt {
    let (number, status, error) = match outcome {
        Outcome::Held => (0, EventStatus::Pending, "waiting until the webhook is active again"),
        _ => (delivery.attempts.saturating_add(1), EventStatus::Failed, "the webhook was deleted"),
    };
    Attempt {
        delivery,
        number,
        outcome,
        status,
        http_status: None,
        response: None,
        error: Some(error.to_owned()),
        started_at: now,
        latency_ms: 0,
        next_retry_at: None,
    }
}

/// A given-up attempt as the dead letters keep it; asked for again, it continues the count of attempts.
pub(super) fn dead_letter(attempt: &Attempt) -> DeadLetter {
    DeadLetter {
        delivery: after_attempt(&attempt.delivery),
        reason: attempt.error.clone().unwrap_or_else(|| attempt.outcome.as_str().to_owned()),
        http_status: attempt.http_status,
        at: attempt.ended_at(),
    }
}

/// From the first publish until now.
pub(super) fn age(delivery: &Delivery, now: Timestamp) -> Duration {
    now.since(delivery.created_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(attempts: u16) -> Delivery {
        Delivery {
            event_id: EventId(uuid::Uuid::nil()),
            webhook_id: crate::model::WebhookId(uuid::Uuid::nil()),
            client_id: 1.try_into().expect("in range"),
            phone: "4915112345678".parse().expect("valid"),
            message_id: "M1".parse().expect("valid"),
            kind: crate::model::Kind::Text,
            created_at: Timestamp::EPOCH,
            body: bytes::Bytes::from_static(b"{}"),
            attempts,
            tries: attempts,
        }
    }

    fn answer(outcome: Outcome, http_status: Option<u16>, request_written: bool) -> Answer {
        let latency = Duration::from_millis(5);
        Answer { outcome, http_status, response: None, error: None, retry_after: None, latency, request_written }
    }

    #[test]
    fn the_status_tells_unconfirmed_from_refused() {
        let at = Timestamp::from_millis(9);
        let status = |outcome, code, written, verdict| {
            attempted(delivery(0), Timestamp::EPOCH, answer(outcome, code, written), verdict).status
        };
        let retry = Verdict::Retry { at };
        assert_eq!(status(Outcome::Ok, Some(200), true, Verdict::Delivered), EventStatus::Delivered);
        assert_eq!(status(Outcome::Http5xx, Some(500), true, retry), EventStatus::Pending);
        assert_eq!(status(Outcome::Timeout, None, true, retry), EventStatus::Sent);
        assert_eq!(status(Outcome::Connect, None, false, retry), EventStatus::Pending);
        let failed = Verdict::Failed { disable: false };
        assert_eq!(status(Outcome::Timeout, None, true, failed), EventStatus::Failed);
    }

    #[test]
    fn numbers_go_on_over_rounds() {
        let attempt =
            attempted(delivery(3), Timestamp::EPOCH, answer(Outcome::Ok, Some(200), true), Verdict::Delivered);
        assert_eq!(attempt.number, 4);
        assert_eq!(dead_letter(&attempt).delivery.attempts, 4);
        assert_eq!(not_attempted(delivery(0), Outcome::Held, Timestamp::EPOCH).number, 0);
        assert_eq!(not_attempted(delivery(2), Outcome::WebhookGone, Timestamp::EPOCH).number, 3);
    }
}
