//! Which deliveries are lost: the audit promises a next try, and no stream has it.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Error, error::in_time};
use crate::{
    bus::{Bus, PARKED_AHEAD_MAX},
    model::{Attempt, Delivery, Event, EventStatus, Timestamp, Webhook},
    store::Store,
};

/// How long results may take to come to record, and how often that is looked at.
const RECORD_TIMEOUT: Duration = Duration::from_secs(10);
const RECORD_PAUSE: Duration = Duration::from_millis(100);

/// What is to become of a lost delivery.
#[derive(Debug, PartialEq)]
pub(super) enum Rescue {
    /// It is sent again, at once.
    Send(Delivery),
    /// It cannot be sent, for this reason.
    GiveUp(Delivery, &'static str),
}

/// Whether what the newest attempt promises should have happened by now, with some patience. Only
/// such a delivery may be lost.
fn is_overdue(newest: &Attempt, now: Timestamp, patience: Duration) -> bool {
    if !matches!(newest.status, EventStatus::Pending | EventStatus::Sent) {
        return false;
    }
    // Without a time it is held, or waits in its chat.
    let promised = newest.next_retry_at.unwrap_or(newest.started_at);
    promised.after(patience) < now || promised > now.after(PARKED_AHEAD_MAX)
}

/// The newest attempts of those of these events that are lost. What was overdue may have ended a
/// moment ago, so all results must have come to record that there are now; else none counts as lost
/// yet.
pub(super) async fn lost_among(
    bus: &Bus,
    store: &dyn Store,
    events: &[Event],
    patience: Duration,
) -> Result<Vec<Attempt>, Error> {
    let mut suspects = Vec::new();
    for event in events {
        let attempt = event.last();
        if is_overdue(attempt, bus.now(), patience) && !bus.is_somewhere(&attempt.delivery).await? {
            suspects.push(attempt);
        }
    }
    if suspects.is_empty() || !results_are_on_record(bus).await? {
        return Ok(Vec::new());
    }
    let mut lost = Vec::new();
    for suspect in suspects {
        let delivery = &suspect.delivery;
        let asked = store.event(delivery.client_id, delivery.webhook_id, delivery.event_id);
        let found = in_time(asked).await?;
        let now_newest = found.map(|event| event.last().clone());
        let same = now_newest.filter(|newest| {
            newest.number == suspect.number && is_overdue(newest, bus.now(), patience)
        });
        if let Some(newest) = same
            && !bus.is_somewhere(delivery).await?
        {
            lost.push(newest);
        }
    }
    Ok(lost)
}

/// Whether all results come to record in time that there are now.
async fn results_are_on_record(bus: &Bus) -> Result<bool, Error> {
    let before = bus.results_read().await?;
    let deadline = Instant::now() + RECORD_TIMEOUT;
    while Instant::now() < deadline {
        if bus.results_read().await?.has_all_of(&before) {
            return Ok(true);
        }
        sleep(RECORD_PAUSE).await;
    }
    Ok(false)
}

/// What becomes of a lost delivery.
pub(super) fn rescue(newest: &Attempt, webhook: &Webhook) -> Rescue {
    let next = match newest.number {
        // No attempt: it was held, or waited in its chat.
        0 => newest.delivery.clone(),
        _ => newest.delivery.after_attempt(),
    };
    if next.is_cut() {
        return Rescue::GiveUp(next, "its next try was lost, and its body was not kept");
    }
    if !webhook.wants(&next.kind) {
        return Rescue::GiveUp(
            next,
            "the webhook does not want this type of message any more",
        );
    }
    Rescue::Send(next)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use uuid::Uuid;

    use super::*;
    use crate::model::{EventType, Outcome, WebhookId};

    const NOW: Timestamp = Timestamp::EPOCH;
    const PATIENCE: Duration = Duration::from_secs(120);

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(NOW.millis() + seconds * 1000)
    }

    fn newest(status: EventStatus, next_retry_at: Option<Timestamp>) -> Attempt {
        Attempt {
            delivery: Delivery {
                attempt_count: 2,
                attempts_this_round: 1,
                ..Delivery::example()
            },
            number: 3,
            outcome: Outcome::Http5xx,
            status,
            http_status: Some(503),
            response: None,
            error: None,
            started_at: at(-600),
            latency_ms: 1,
            next_retry_at,
        }
    }

    fn webhook() -> Webhook {
        Webhook::new(
            WebhookId(Uuid::from_u128(2)),
            3.try_into().expect("in range"),
            "4915112345678".parse().expect("valid"),
            "https://example.com/".to_owned(),
            NOW,
        )
    }

    #[test]
    fn a_promise_is_overdue_after_some_patience_or_when_it_is_farther_ahead_than_any() {
        use EventStatus::{Delivered, Failed, Pending, Sent};
        let day = 24 * 3600;
        for (status, next, overdue) in [
            (Pending, Some(at(-121)), true),
            (Sent, Some(at(-121)), true),
            (Pending, Some(at(-119)), false),
            (Pending, Some(at(7 * day)), false),
            (Pending, Some(at(9 * day)), true),
            (Pending, None, true),
            (Delivered, Some(at(-121)), false),
            (Failed, None, false),
        ] {
            let is_overdue = is_overdue(&newest(status, next), NOW, PATIENCE);
            assert_eq!(is_overdue, overdue, "{status:?} {next:?}");
        }
    }

    #[test]
    fn what_can_be_sent_goes_on_with_its_next_attempt() {
        let lost = newest(EventStatus::Pending, Some(at(-600)));
        let Rescue::Send(next) = rescue(&lost, &webhook()) else {
            panic!("it can be sent");
        };
        assert_eq!((next.attempt_count, next.attempts_this_round), (3, 2));
        let held = Attempt {
            number: 0,
            ..lost.clone()
        };
        assert_eq!(rescue(&held, &webhook()), Rescue::Send(held.delivery));
    }

    #[test]
    fn what_cannot_be_sent_is_given_up_with_the_reason() {
        let lost = newest(EventStatus::Pending, Some(at(-600)));
        let picky = Webhook {
            event_types: vec![EventType::Receipt],
            ..webhook()
        };
        assert!(matches!(rescue(&lost, &picky), Rescue::GiveUp(..)));
        let mut cut = lost;
        cut.delivery.body = Bytes::new();
        assert!(matches!(rescue(&cut, &webhook()), Rescue::GiveUp(..)));
    }
}
