//! A webhook's statistics by the hour.

use std::time::Duration;

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};

use super::{
    AppState,
    extract::WebhookPath,
    problem::Problem,
    query::{self, Params},
};
use crate::model::{HourStats, Timestamp};

const SPAN_DEFAULT: Duration = Duration::from_secs(24 * 3600);
const HOURS_MAX: u64 = 31 * 24;

/// Query of a webhook's statistics.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Span {
    since: Option<String>,
    until: Option<String>,
}

/// One hour. Only those in which there were attempts are listed.
#[derive(Serialize)]
struct HourView {
    hour: String,
    attempts: u64,
    delivered: u64,
    failed: u64,
    latency_mean_ms: f64,
    latency_max_ms: u64,
    body_bytes: u64,
}

/// The hours of a span, newest first.
#[derive(Serialize)]
pub(super) struct StatsView {
    data: Vec<HourView>,
}

impl From<HourStats> for HourView {
    fn from(stats: HourStats) -> Self {
        Self {
            hour: stats.hour.to_string(),
            attempts: stats.attempts,
            delivered: stats.delivered,
            failed: stats.failed,
            latency_mean_ms: stats.latency_sum_ms as f64 / stats.attempts.max(1) as f64,
            latency_max_ms: stats.latency_max_ms,
            body_bytes: stats.body_bytes,
        }
    }
}

/// `GET /api/webhooks/{webhook_id}/stats`: the last day's hours, unless told otherwise.
pub(super) async fn get(
    State(app): State<AppState>,
    WebhookPath(client, webhook): WebhookPath,
    Params(span): Params<Span>,
) -> Result<Json<StatsView>, Problem> {
    app.webhook(client, webhook).await?;
    let until = query::time(span.until.as_ref(), "?until")?.unwrap_or_else(|| app.bus.now());
    let default = Timestamp::from_millis(
        until.millis() - i64::try_from(SPAN_DEFAULT.as_millis()).unwrap_or_default(),
    );
    let since = query::time(span.since.as_ref(), "?since")?.unwrap_or(default);
    if until.since(since).as_secs() / 3600 > HOURS_MAX {
        return Err(Problem::field(
            "?since",
            format!("is at most {HOURS_MAX} hours before until"),
        ));
    }
    let hours = app.store.stats(client, webhook, since, until).await?;
    Ok(Json(StatsView {
        data: hours.into_iter().map(HourView::from).collect(),
    }))
}
