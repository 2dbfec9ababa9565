//! How a webhook fares over days, and stopping one that is gone or has failed for too long.

use std::time::Duration;

use super::fleet::Shared;
use crate::{
    model::{DisabledReason, Timestamp, Verdict, Webhook},
    telemetry,
};

/// How often a change is tried; after that the next attempt does it.
const TRIES: usize = 3;

/// What an attempt says of its webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Well,
    /// It failed, but so may any endpoint once.
    Unsure,
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

impl Sign {
    pub(super) fn of(verdict: Verdict, opened_breaker: bool) -> Self {
        match verdict {
            Verdict::Delivered => Self::Well,
            Verdict::Failed { disable: true } => Self::Gone,
            Verdict::Failed { disable: false } => Self::Failing,
            Verdict::Retry { .. } if opened_breaker => Self::Failing,
            Verdict::Retry { .. } => Self::Unsure,
        }
    }

    /// Only what is news is written: a webhook that is well costs nothing.
    fn change(self, failing_since: Option<Timestamp>, now: Timestamp, disable_after: Duration) -> Option<Change> {
        match (self, failing_since) {
            (Self::Gone, _) => Some(Change::Disable(DisabledReason::Gone)),
            (Self::Well, Some(_)) => Some(Change::Recovered),
            (Self::Failing, None) => Some(Change::FailingSince(now)),
            (Self::Failing | Self::Unsure, Some(since)) if now.since(since) >= disable_after => {
                Some(Change::Disable(DisabledReason::Failing))
            }
            _ => None,
        }
    }
}

impl Shared {
    /// Notes how a webhook fares.
    pub(super) async fn health(&self, webhook: &Webhook, sign: Sign, now: Timestamp) {
        let Some(change) = sign.change(webhook.failing_since, now, self.deliver.disable_after) else { return };
        let apply = |webhook: &mut Webhook| match change {
            // Another attempt may have noted it meanwhile.
            Change::FailingSince(at) => webhook.failing_since = webhook.failing_since.or(Some(at)),
            Change::Recovered => webhook.failing_since = None,
            Change::Disable(reason) => {
                webhook.disabled = Some(reason);
                webhook.updated_at = now;
            }
        };
        for _ in 0..TRIES {
            match self.bus.registry().update(webhook.client_id, webhook.id, apply).await {
                Ok(changed) => {
                    if let (Some(webhook), Change::Disable(reason)) = (changed, change) {
                        tracing::info!(webhook = %webhook.id.0, ?reason, "disabled");
                        self.notices.disabled(&webhook, reason).await;
                    }
                    return;
                }
                Err(error) => tracing::warn!(webhook = %webhook.id.0, %error, "noting how it fares failed"),
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
    fn only_news_is_written_and_long_failing_disables() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1000);
        let table = [
            (Sign::Well, None, None),
            (Sign::Unsure, None, None),
            (Sign::Failing, None, Some(Change::FailingSince(at(200)))),
            (Sign::Failing, Some(at(101)), None),
            (Sign::Unsure, Some(at(101)), None),
            (Sign::Well, Some(at(1)), Some(Change::Recovered)),
            (Sign::Failing, Some(at(100)), Some(Change::Disable(DisabledReason::Failing))),
            (Sign::Unsure, Some(at(100)), Some(Change::Disable(DisabledReason::Failing))),
            (Sign::Gone, None, Some(Change::Disable(DisabledReason::Gone))),
        ];
        for (sign, since, expected) in table {
            assert_eq!(sign.change(since, at(200), AFTER), expected, "{sign:?} {since:?}");
        }
    }

    #[test]
    fn each_verdict_is_a_sign() {
        let retry = Verdict::Retry { at: Timestamp::EPOCH };
        assert_eq!(Sign::of(Verdict::Delivered, false), Sign::Well);
        assert_eq!((Sign::of(retry, false), Sign::of(retry, true)), (Sign::Unsure, Sign::Failing));
        assert_eq!(Sign::of(Verdict::Failed { disable: false }, false), Sign::Failing);
        assert_eq!(Sign::of(Verdict::Failed { disable: true }, false), Sign::Gone);
    }
}
