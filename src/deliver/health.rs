//! The health of webhooks over days: disables one that is gone or has failed for too long.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::notices::Notices;
use crate::{
    bus::Bus,
    model::{DisabledReason, Timestamp, Verdict, Webhook, WebhookId},
    telemetry,
};

/// How often a change is tried; after that the next attempt of a delivery does it.
const TRIES_MAX: usize = 3;

/// What an attempt says of its webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum HealthSignal {
    Success,
    /// It failed, but so may any endpoint once.
    TransientFailure,
    /// A delivery was given up, or too many in a row failed.
    Failing,
    /// It answered 410.
    Gone,
}

/// What follows for the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    FailingSince(Timestamp),
    Recovered,
    Disable(DisabledReason),
}

impl HealthSignal {
    pub(super) fn of(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Delivered => Self::Success,
            Verdict::Failed { disable: true } => Self::Gone,
            Verdict::Failed { disable: false } => Self::Failing,
            Verdict::Retry { .. } => Self::TransientFailure,
        }
    }

    /// The same for an attempt that opened the breaker: too many in a row have failed.
    pub(super) fn with_open_breaker(self) -> Self {
        match self {
            Self::TransientFailure => Self::Failing,
            other => other,
        }
    }

    /// Only changes are written: a webhook that works costs nothing.
    fn change(
        self,
        failing_since: Option<Timestamp>,
        now: Timestamp,
        disable_after: Duration,
    ) -> Option<Change> {
        match (self, failing_since) {
            (Self::Gone, _) => Some(Change::Disable(DisabledReason::Gone)),
            (Self::Success, Some(_)) => Some(Change::Recovered),
            (Self::Failing, None) => Some(Change::FailingSince(now)),
            (Self::Failing | Self::TransientFailure, Some(since))
                if now.since(since) >= disable_after =>
            {
                Some(Change::Disable(DisabledReason::Failing))
            }
            _ => None,
        }
    }
}

/// Which changes are being written, so that each is by one attempt of this node alone.
#[derive(Default)]
pub(super) struct InFlightUpdates(Mutex<HashSet<(WebhookId, HealthSignal)>>);

struct Noted<'a>(&'a InFlightUpdates, (WebhookId, HealthSignal));

impl InFlightUpdates {
    /// `None`: another attempt is writing the same.
    fn begin(&self, webhook: WebhookId, signal: HealthSignal) -> Option<Noted<'_>> {
        let key = (webhook, signal);
        let is_first = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key);
        is_first.then(|| Noted(self, key))
    }
}

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.1);
    }
}

impl Change {
    /// Makes the change, and says whether it did. It does not if the webhook was changed since the
    /// attempt: another address, or one that its owner has made active again, is not to blame for
    /// the answer.
    fn apply(self, attempted: &Webhook, webhook: &mut Webhook, now: Timestamp) -> bool {
        if !is_same(attempted, webhook) {
            return false;
        }
        match self {
            Self::FailingSince(at) => webhook.failing_since = Some(at),
            Self::Recovered => webhook.failing_since = None,
            Self::Disable(reason) => {
                webhook.disabled = Some(reason);
                webhook.updated_at = now;
            }
        }
        true
    }
}

/// Whether nothing that matters to its health was changed since. Every change of a webhook sets
/// `updated_at`.
fn is_same(attempted: &Webhook, webhook: &Webhook) -> bool {
    (webhook.updated_at, &webhook.url, webhook.failing_since)
        == (
            attempted.updated_at,
            &attempted.url,
            attempted.failing_since,
        )
        && webhook.disabled.is_none()
}

/// Keeps the health of webhooks.
pub(super) struct Health {
    bus: Bus,
    notices: Arc<Notices>,
    updates: InFlightUpdates,
    disable_after: Duration,
}

impl Health {
    pub(super) fn new(bus: Bus, notices: Arc<Notices>, disable_after: Duration) -> Self {
        Self {
            bus,
            notices,
            updates: InFlightUpdates::default(),
            disable_after,
        }
    }

    /// Stores what an attempt says of a webhook, if that is a change.
    pub(super) async fn note(&self, attempted: &Webhook, signal: HealthSignal, now: Timestamp) {
        let Some(change) = signal.change(attempted.failing_since, now, self.disable_after) else {
            return;
        };
        // Of many attempts that end at once, one writes what all have found.
        let Some(_noted) = self.updates.begin(attempted.id, signal) else {
            return;
        };
        let known = self
            .bus
            .webhooks()
            .cached_by_phone(attempted.client_id, &attempted.phone);
        if known.is_some_and(|known| known.id != attempted.id || !is_same(attempted, &known)) {
            return;
        }
        for _ in 0..TRIES_MAX {
            let mut is_changed = false;
            let apply = |webhook: &mut Webhook| is_changed = change.apply(attempted, webhook, now);
            match self
                .bus
                .webhooks()
                .update(attempted.client_id, attempted.id, apply)
                .await
            {
                Ok(changed) => {
                    if let (Some(webhook), Change::Disable(reason), true) =
                        (changed, change, is_changed)
                    {
                        tracing::info!(?reason, "webhook disabled");
                        self.notices.disabled(&webhook, reason).await;
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "storing the health of a webhook failed")
                }
            }
        }
        telemetry::error("deliver", "health");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(100);

    #[test]
    fn health_is_written_only_on_change_and_long_failure_disables() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let table = [
            (HealthSignal::Success, None, None),
            (HealthSignal::TransientFailure, None, None),
            (
                HealthSignal::Failing,
                None,
                Some(Change::FailingSince(at(200))),
            ),
            (HealthSignal::Failing, Some(at(101)), None),
            (HealthSignal::TransientFailure, Some(at(101)), None),
            (HealthSignal::Success, Some(at(1)), Some(Change::Recovered)),
            (
                HealthSignal::Failing,
                Some(at(100)),
                Some(Change::Disable(DisabledReason::Failing)),
            ),
            (
                HealthSignal::TransientFailure,
                Some(at(100)),
                Some(Change::Disable(DisabledReason::Failing)),
            ),
            (
                HealthSignal::Gone,
                None,
                Some(Change::Disable(DisabledReason::Gone)),
            ),
        ];
        for (signal, since, expected) in table {
            assert_eq!(
                signal.change(since, at(200), AFTER),
                expected,
                "{signal:?} {since:?}"
            );
        }
    }

    #[test]
    fn same_change_is_written_by_one_attempt_at_a_time() {
        let updates = InFlightUpdates::default();
        let webhook = WebhookId(uuid::Uuid::from_u128(1));
        let first = updates.begin(webhook, HealthSignal::Success);
        assert!(first.is_some() && updates.begin(webhook, HealthSignal::Success).is_none());
        assert!(
            updates.begin(webhook, HealthSignal::Gone).is_some(),
            "another change"
        );
        drop(first);
        assert!(updates.begin(webhook, HealthSignal::Success).is_some());
    }

    #[test]
    fn verdict_gives_the_health_signal() {
        let at = Timestamp::EPOCH;
        let transient = HealthSignal::TransientFailure;
        let table = [
            (Verdict::Delivered, HealthSignal::Success),
            (Verdict::Retry { at }, transient),
            (Verdict::Failed { disable: false }, HealthSignal::Failing),
            (Verdict::Failed { disable: true }, HealthSignal::Gone),
        ];
        for (verdict, signal) in table {
            assert_eq!(HealthSignal::of(verdict), signal);
        }
        assert_eq!(transient.with_open_breaker(), HealthSignal::Failing);
        assert_eq!(HealthSignal::Gone.with_open_breaker(), HealthSignal::Gone);
    }
}
