//! The state of webhooks: last success, last error, failures since.

use std::collections::HashMap;

use futures_util::future::{join_all, try_join};
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use super::{
    Connected,
    recent::Key,
    rows::{from_time, id, time},
    write::FIRST_TRY_WINDOW,
};
use crate::{
    model::{ClientId, Timestamp, WebhookId, WebhookState},
    store::Error,
};

/// Failures that are counted at most.
const FAILURES_MAX: i32 = 1000;
const DAY_MS: i64 = 24 * 3_600_000;
const DAY_SECONDS: u64 = 86_400;

impl Connected {
    pub(super) async fn states(
        &self,
        client: ClientId,
        webhooks: &[WebhookId],
    ) -> Result<HashMap<WebhookId, WebhookState>, Error> {
        let reads = webhooks
            .iter()
            .map(|webhook| self.state((client, *webhook)));
        let mut states = HashMap::new();
        for (webhook, state) in webhooks.iter().zip(join_all(reads).await) {
            states.extend(state?.map(|state| (*webhook, state)));
        }
        Ok(states)
    }

    async fn state(&self, key: Key) -> Result<Option<WebhookState>, Error> {
        type StateRow = (
            Option<String>,
            Option<CqlTimestamp>,
            Option<CqlTimestamp>,
            Option<CqlTimestamp>,
        );
        let rows = self.read_all::<StateRow>(&self.statements.select_state, (id(key.0), key.1.0));
        let (rows, first_try_success) = try_join(rows, self.newest_success(key)).await?;
        if rows.is_empty() && first_try_success.is_none() {
            return Ok(None);
        }
        let (error, success, failed, attempt) = rows.into_iter().next().unwrap_or_default();
        let success = success.map(from_time).max(first_try_success);
        let failed = failed.map(from_time);
        let attempt = attempt.map(from_time).max(first_try_success);
        Ok(Some(WebhookState {
            failure_count: self.failures(key, success, attempt).await?,
            failed: failed > success,
            last_error: error.filter(|error| !error.is_empty()),
            last_success_at: success,
            last_attempt_at: attempt,
        }))
    }

    /// When the newest success at a first attempt ended. Those write nothing to `webhook_state`;
    /// the static column of their day has it.
    async fn newest_success(&self, key: Key) -> Result<Option<Timestamp>, Error> {
        type SuccessRow = (i64, Uuid, i32, Option<CqlTimestamp>);
        let place = (id(key.0), key.1.0);
        let days: Vec<(i32,)> = self
            .read_all(&self.statements.select_newest_days, place)
            .await?;
        let mut newest = None;
        for (day,) in days {
            let place = (id(key.0), key.1.0, day);
            let rows: Vec<SuccessRow> = self
                .read_all(&self.statements.select_success, place)
                .await?;
            newest = newest.max(rows.into_iter().find_map(|row| row.3).map(from_time));
            // A day is that of the publish: what was published just before midnight may have ended
            // later than this.
            let settled = Timestamp::from_millis(i64::from(day) * DAY_MS).after(FIRST_TRY_WINDOW);
            if newest >= Some(settled) {
                break;
            }
        }
        Ok(newest)
    }

    /// Failed attempts since the last success, up to [`FAILURES_MAX`].
    async fn failures(
        &self,
        key: Key,
        success: Option<Timestamp>,
        attempt: Option<Timestamp>,
    ) -> Result<u32, Error> {
        let Some(newest) = attempt else { return Ok(0) };
        let kept_days = i32::try_from(self.retention.as_secs() / DAY_SECONDS).unwrap_or(i32::MAX);
        let oldest_kept = newest.day().saturating_sub(kept_days);
        let success_day = success.unwrap_or(Timestamp::EPOCH).day();
        let first = success_day.max(oldest_kept).max(-1);
        let after = success.map_or(CqlTimestamp(-1), time);
        let mut count = 0;
        for day in (first..=newest.day()).rev() {
            let left = FAILURES_MAX - count;
            let place = (id(key.0), key.1.0, day, after, left);
            let rows: Vec<(CqlTimestamp,)> = self
                .read_all(&self.statements.select_failures, place)
                .await?;
            count += i32::try_from(rows.len()).unwrap_or(left);
            if count >= FAILURES_MAX {
                break;
            }
        }
        Ok(u32::try_from(count).unwrap_or_default())
    }
}
