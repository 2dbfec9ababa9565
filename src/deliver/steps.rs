//! Pure steps of a delivery: what it becomes, and what the audit says of it.

use std::sync::Arc;

use crate::{
    egress::Answer,
    model::{
        Attempt, ChatKey, Delivery, DeliveryOrder, ERROR_CHARS_MAX, EventId, EventStatus, Message,
        Outcome, Priority, Timestamp, Verdict, Webhook, WebhookId,
    },
    wire,
};

/// A message before its first attempt.
pub(super) struct NewMessage {
    pub(super) message: Message,
    pub(super) webhook: Arc<Webhook>,
    pub(super) event_id: EventId,
    /// When the stream stored the message.
    pub(super) published_at: Timestamp,
    /// Its chat, where the webhook asks for the order of chats.
    pub(super) chat_key: Option<ChatKey>,
}

/// The delivery of a message before its first attempt; its body stays the same from here on.
pub(super) fn first(new: NewMessage, body_bytes_max: usize) -> Delivery {
    let NewMessage {
        message,
        webhook,
        event_id,
        published_at,
        chat_key,
    } = new;
    let body = wire::delivery_body(&webhook, &message, event_id, published_at, body_bytes_max);
    Delivery {
        event_id,
        webhook_id: webhook.id,
        client_id: message.client_id,
        body,
        phone: message.phone,
        message_id: message.message_id,
        kind: message.kind,
        created_at: published_at,
        attempt_count: 0,
        attempts_this_round: 0,
        priority: Priority::Normal,
        chat_key,
    }
}

/// The id of a message's event at a webhook. A message without an id of its own gets the one that
/// wahook publishes messages under.
pub(super) fn event_id(
    message: &Message,
    webhook: WebhookId,
    published_at: Timestamp,
    dedupe_id: Option<&str>,
) -> EventId {
    match dedupe_id {
        Some(id) => EventId::of_message(published_at, webhook, id),
        None => EventId::of_message(published_at, webhook, &wire::message_dedupe_id(message)),
    }
}

/// The key of a message's chat, where the webhook asks for the order of chats.
pub(super) fn chat_key(message: &Message, webhook: &Webhook) -> Option<ChatKey> {
    match webhook.ordering {
        DeliveryOrder::None => None,
        // The webhook's id is part of it, so the number's next webhook does not wait for the
        // queues of this one.
        DeliveryOrder::Chat => {
            let hash = wire::dedupe_id(&[&webhook.id.to_string(), &message.chat]);
            Some(ChatKey::try_from(hash).expect("hex digits are valid"))
        }
    }
}

/// What the audit keeps of an attempt.
pub(super) fn attempt(
    delivery: Delivery,
    answer: Answer,
    verdict: Verdict,
    started_at: Timestamp,
) -> Attempt {
    let unanswered = answer.request_written && answer.http_status.is_none();
    let (status, next_retry_at) = match verdict {
        Verdict::Delivered => (EventStatus::Delivered, None),
        Verdict::Retry { at } if unanswered => (EventStatus::Sent, Some(at)),
        Verdict::Retry { at } => (EventStatus::Pending, Some(at)),
        Verdict::Failed { .. } => (EventStatus::Failed, None),
    };
    Attempt {
        number: delivery.attempt_count.saturating_add(1),
        delivery,
        outcome: answer.outcome,
        status,
        http_status: answer.http_status,
        response: answer.response,
        error: answer.error.as_deref().map(shorten),
        started_at,
        latency_ms: u32::try_from(answer.latency.as_millis()).unwrap_or(u32::MAX),
        next_retry_at,
    }
}

/// The audit's word that the webhook is gone. Its number follows the last attempt's, so that it
/// hides none; no real attempt can ever have it, since a webhook's id does not come back.
pub(super) fn webhook_deleted_record(delivery: Delivery, now: Timestamp) -> Attempt {
    let error = "the webhook was deleted before this could be delivered";
    gone_record(delivery, error, now)
}

/// The audit's word that the webhook does not take messages of this type any more. A retry by hand
/// counts on from its number.
pub(super) fn unwanted_record(delivery: Delivery, now: Timestamp) -> Attempt {
    let error = "event_types of the webhook did not name this type when it was to be delivered";
    gone_record(delivery, error, now)
}

fn gone_record(delivery: Delivery, error: &str, now: Timestamp) -> Attempt {
    let number = delivery.attempt_count.saturating_add(1);
    no_attempt(
        delivery,
        number,
        Outcome::WebhookGone,
        EventStatus::Failed,
        error,
        now,
    )
}

/// Makes an attempt the last one, since nats-server does not take the next.
pub(super) fn make_last(attempt: &mut Attempt, reason: &str) {
    let error = attempt
        .error
        .get_or_insert_with(|| attempt.outcome.as_str().to_owned());
    error.push_str("; there is no further attempt, because the delivery is ");
    error.push_str(reason);
    attempt.status = EventStatus::Failed;
    attempt.next_retry_at = None;
}

/// The audit's word that the delivery was handed out `deliveries` times and never settled.
pub(super) fn abandoned_record(delivery: Delivery, deliveries: u64, now: Timestamp) -> Attempt {
    let reason = format!(
        "handed out {deliveries} times and never settled: a fault of wahook's, not of the endpoint"
    );
    Attempt::abandoned(delivery, reason, now)
}

/// The audit's word that the delivery is held; only needed where there is no attempt yet that shows
/// the event.
pub(super) fn held_record(delivery: Delivery, now: Timestamp) -> Option<Attempt> {
    let error = "the webhook is paused or disabled";
    (delivery.attempt_count == 0)
        .then(|| no_attempt(delivery, 0, Outcome::Held, EventStatus::Pending, error, now))
}

/// The audit's word that the delivery is held for want of room; likewise.
pub(super) fn held_back_record(delivery: Delivery, now: Timestamp) -> Option<Attempt> {
    let error = "too much of the client's waits for its endpoints; it comes when less does";
    (delivery.attempt_count == 0)
        .then(|| no_attempt(delivery, 0, Outcome::Held, EventStatus::Pending, error, now))
}

/// The audit's word that the delivery waits behind an earlier one of its chat; likewise.
pub(super) fn queued_record(delivery: Delivery, now: Timestamp) -> Option<Attempt> {
    let error = "an earlier message of its chat is not delivered yet";
    (delivery.attempt_count == 0)
        .then(|| no_attempt(delivery, 0, Outcome::Held, EventStatus::Pending, error, now))
}

fn no_attempt(
    delivery: Delivery,
    number: u16,
    outcome: Outcome,
    status: EventStatus,
    error: &str,
    started_at: Timestamp,
) -> Attempt {
    Attempt {
        delivery,
        number,
        outcome,
        status,
        http_status: None,
        response: None,
        error: Some(error.to_owned()),
        started_at,
        latency_ms: 0,
        next_retry_at: None,
    }
}

/// Whether the outcome speaks against the endpoint's health, so that the breaker counts it.
pub(super) fn is_endpoint_failure(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Http5xx
            | Outcome::Timeout
            | Outcome::Connect
            | Outcome::Dns
            | Outcome::Tls
            | Outcome::Reset
            | Outcome::Protocol
    )
}

fn shorten(text: &str) -> String {
    text.chars().take(ERROR_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const NOW: Timestamp = Timestamp::EPOCH;

    fn delivery(attempt_count: u16, attempts_this_round: u16) -> Delivery {
        Delivery {
            attempt_count,
            attempts_this_round,
            ..Delivery::example()
        }
    }

    fn answer(outcome: Outcome, request_written: bool, http_status: Option<u16>) -> Answer {
        Answer {
            outcome,
            cause: outcome,
            http_status,
            response: None,
            error: Some("x".repeat(ERROR_CHARS_MAX + 1)),
            retry_after: None,
            latency: Duration::from_millis(7),
            request_written,
        }
    }

    #[test]
    fn the_next_delivery_counts_and_keeps_the_rest() {
        assert_eq!(delivery(4, 1).after_attempt(), delivery(5, 2));
        assert_eq!(
            delivery(u16::MAX, u16::MAX).after_attempt(),
            delivery(u16::MAX, u16::MAX)
        );
    }

    #[test]
    fn each_verdict_has_its_status() {
        let at = NOW.after(Duration::from_secs(5));
        let retry = Verdict::Retry { at };
        let failed = |disable| Verdict::Failed { disable };
        let table = [
            (Verdict::Delivered, true, Some(200), EventStatus::Delivered),
            (retry, true, None, EventStatus::Sent),
            (retry, true, Some(503), EventStatus::Pending),
            (retry, false, None, EventStatus::Pending),
            (failed(false), true, None, EventStatus::Failed),
            (failed(true), false, Some(410), EventStatus::Failed),
        ];
        for (verdict, written, http_status, status) in table {
            let next_retry_at = (verdict == retry).then_some(at);
            let attempt = attempt(
                delivery(2, 0),
                answer(Outcome::Timeout, written, http_status),
                verdict,
                NOW,
            );
            assert_eq!(
                (attempt.status, attempt.next_retry_at),
                (status, next_retry_at),
                "{verdict:?}"
            );
            assert_eq!((attempt.number, attempt.latency_ms), (3, 7));
            assert_eq!(
                attempt.error.map(|error| error.len()),
                Some(ERROR_CHARS_MAX)
            );
        }
    }

    #[test]
    fn rows_that_are_no_attempts_overwrite_none() {
        assert_eq!(webhook_deleted_record(delivery(0, 0), NOW).number, 1);
        assert_eq!(webhook_deleted_record(delivery(3, 3), NOW).number, 4);
        assert_eq!(abandoned_record(delivery(3, 3), 10, NOW).number, 4);
        assert_eq!(
            held_record(delivery(0, 0), NOW).map(|row| row.number),
            Some(0)
        );
        assert_eq!(held_record(delivery(1, 1), NOW), None);
    }
}
