//! Quotas of a client: what it may publish and store.

use std::time::{Duration, Instant};

use axum::{Json, extract::State};
use serde::Serialize;

use super::{AppState, auth::Caller, problem::Problem};
use crate::{
    model::{ClientId, Limit, Quota},
    telemetry,
};

/// When to look again whether less waits: deliveries may take any time.
const FULL_PAUSE: Duration = Duration::from_secs(30);

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
}

impl AppState {
    /// Whether a client may store one more message now. To be asked before one is accepted.
    ///
    /// # Errors
    /// 429 `quota` with the quota that is used up.
    pub(super) async fn admit(&self, client: ClientId) -> Result<(), Problem> {
        let rate = self.bus.limit(client, Limit::MessagesPerSecond);
        let rate = u32::try_from(rate).unwrap_or(u32::MAX);
        if let Err(wait) = self.messages.check_rate(client, rate, Instant::now()) {
            telemetry::quota_refused("messages_per_second");
            return Err(Problem::quota(
                wait,
                "more messages than quota.messages_per_second: publish more slowly",
            ));
        }
        if self.bus.is_used_up(Quota::Waiting, client).await? {
            telemetry::quota_refused(Quota::Waiting.as_str());
            return Err(Problem::quota(
                FULL_PAUSE,
                "more bytes wait than quota.waiting_bytes_max: make the endpoint take them, resume \
                 the webhook, or delete it",
            ));
        }
        Ok(())
    }
}

/// `GET /api/usage`: what the client has stored, and may.
pub(super) async fn get(
    State(app): State<AppState>,
    Caller(client): Caller,
) -> Result<Json<UsageView>, Problem> {
    let usage = app.bus.usage(client).await?;
    Ok(Json(UsageView {
        waiting_bytes: Share {
            used: usage.waiting_bytes,
            max: app.bus.limit(client, Limit::WaitingBytes),
        },
        dead_letter_bytes: Share {
            used: usage.dead_letter_bytes,
            max: app.bus.limit(client, Limit::DeadLetterBytes),
        },
        messages_per_second: app.bus.limit(client, Limit::MessagesPerSecond),
    }))
}
