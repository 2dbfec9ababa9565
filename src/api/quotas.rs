//! Quotas of a client: what it may publish and store.

use std::time::{Duration, Instant};

use axum::{Json, extract::State};
use serde::Serialize;

use super::{AppState, auth::Caller, problem::Problem};
use crate::{
    bus::{Stream, UsedUp},
    model::{ClientId, Limit, Quota},
    telemetry,
};

/// When to look again whether less waits: deliveries may take any time.
const FULL_PAUSE: Duration = Duration::from_secs(30);
/// So many bytes count as one message. A large message is written to disk up to six times on its
/// way, and what others publish waits behind that.
const COUNTED_BYTES: usize = 4 * 1024;

/// What a client may store or do, and has.
#[derive(Serialize)]
struct Share {
    used: u64,
    max: u64,
}

/// The quotas of a client.
#[derive(Serialize)]
pub(super) struct UsageView {
    waiting_bytes: Share,
    dead_letter_bytes: Share,
    messages_per_second: u64,
    webhooks: Share,
}

impl AppState {
    /// Whether a client may store one more message of this size now. To be asked before one is
    /// accepted.
    ///
    /// # Errors
    /// 429 `quota` with the quota that is used up.
    pub(super) async fn admit(&self, client: ClientId, bytes: usize) -> Result<(), Problem> {
        let rate = self.bus.limit(client, Limit::MessagesPerSecond);
        let rate = u32::try_from(rate).unwrap_or(u32::MAX);
        let now = Instant::now();
        if let Err(wait) = self.messages.check_rate(client, rate, cost(bytes), now) {
            telemetry::quota_refused("messages_per_second");
            return Err(Problem::quota(
                wait,
                "more messages than quota.messages_per_second, where each 4 KiB of a message \
                 count as one: publish more slowly",
            ));
        }
        let Some(used_up) = self.bus.used_up(client).await? else {
            return Ok(());
        };
        telemetry::quota_refused(used_up.as_str());
        Err(Problem::quota(FULL_PAUSE, explanation(used_up)))
    }
}

/// What is used up, and what its owner can do.
fn explanation(used_up: UsedUp) -> &'static str {
    match used_up {
        UsedUp::Waiting => {
            "more bytes wait than quota.waiting_bytes_max: make the endpoint take them, resume the \
             webhook, or delete it"
        }
        UsedUp::Share(Stream::Retries) => {
            "as many bytes of retries wait as the client's share of deliver.retry_bytes_max: make \
             the endpoint take them, or delete the webhook"
        }
        UsedUp::Share(Stream::Held) => {
            "as many bytes are held as the client's share of bus.hold_bytes_max: resume the \
             webhook, or delete it"
        }
        UsedUp::Share(_) => {
            "as many bytes wait as the client's share of bus.message_bytes_max: publish more \
             slowly, or make the endpoint take them"
        }
    }
}

/// As how many messages one of this size counts.
fn cost(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(COUNTED_BYTES)).map_or(u32::MAX, |cost| cost.max(1))
}

/// `GET /api/usage`: what the client has stored, and may.
pub(super) async fn get(
    State(app): State<AppState>,
    Caller(client): Caller,
) -> Result<Json<UsageView>, Problem> {
    let usage = app.bus.usage(client).await?;
    Ok(Json(UsageView {
        waiting_bytes: Share {
            used: usage.of(Quota::Waiting),
            max: app.bus.limit(client, Limit::WaitingBytes),
        },
        dead_letter_bytes: Share {
            used: usage.of(Quota::DeadLetters),
            max: app.bus.limit(client, Limit::DeadLetterBytes),
        },
        messages_per_second: app.bus.limit(client, Limit::MessagesPerSecond),
        webhooks: Share {
            used: app.bus.webhooks().count(client).await?,
            max: app.bus.limit(client, Limit::Webhooks),
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_four_kibibytes_begun_count_as_one_message() {
        let costs = [0, 1, 4_096, 4_097, 491_520].map(cost);
        assert_eq!(costs, [1, 1, 1, 2, 120]);
    }
}
