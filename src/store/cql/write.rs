//! Writing attempts, their index rows, and hourly sums.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, future::join_all, stream};
use rand::Rng;
use scylla::{
    serialize::row::SerializeRow, statement::prepared::PreparedStatement, value::CqlTimestamp,
};

use super::{
    Connected,
    cause::Cause,
    recent::{Key, Sums},
    rows::{NewRow, id, succeeded_at, time, written_at},
};
use crate::{
    model::{Attempt, ClientId, EventStatus, Outcome, Timestamp},
    store::Error,
    telemetry,
};

/// Tries of one statement, beside the driver's own retries. The caller tries the whole batch again.
const TRIES_MAX: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// A first attempt that ends within this time after the publish was neither held nor queued before.
/// Later ones get index rows: an earlier record of theirs (held, for example) may have some, which
/// must be corrected.
pub(super) const FIRST_TRY_WINDOW: Duration = Duration::from_secs(10);
/// Sums written at once: few, so that attempts do not wait behind the sums of a hundred thousand
/// webhooks.
const SUMS_IN_FLIGHT: usize = 16;

/// What the attempts of one call change in a webhook's state.
#[derive(Default)]
struct StateUpdate<'a> {
    success: Option<Timestamp>,
    error: Option<(Timestamp, &'a str)>,
    given_up: Option<Timestamp>,
}

/// A day on which a webhook has events: a row of `event_days`.
type WebhookDay = (Key, i32);
/// A day on which a client has dead letters: a row of `dead_letter_days`.
type DeadLetterDay = (ClientId, i32);

impl Connected {
    pub(super) async fn record(&self, attempts: &[Attempt]) -> Result<(), Error> {
        let mut updates: HashMap<Key, StateUpdate<'_>> = HashMap::new();
        for attempt in attempts.iter().filter(|attempt| made_request(attempt)) {
            updates.entry(key_of(attempt)).or_default().add(attempt);
        }
        // Days first: the attempts of a day without a row of its own would not be found.
        self.write_days(attempts).await?;
        // All statements are waited for, even after an error: a dropped one keeps its place on the
        // connection. The semaphore limits how many are in flight.
        let rows = join_all(attempts.iter().map(|attempt| self.write_attempt(attempt))).await;
        rows.into_iter().collect::<Result<(), Error>>()?;
        let states = updates
            .iter()
            .map(|(key, update)| self.update_state(*key, update));
        let states = join_all(states).await;
        states.into_iter().collect::<Result<(), Error>>()?;
        for attempt in attempts {
            if !self.hours.add(attempt) {
                telemetry::error("store", "stats_full");
            }
        }
        Ok(())
    }

    /// Writes the days that this process has not written yet.
    async fn write_days(&self, attempts: &[Attempt]) -> Result<(), Error> {
        let now = time(Timestamp::from_system(SystemTime::now()));
        let days = self.days.missing(attempts.iter().map(webhook_day));
        let written = join_all(days.into_iter().map(|day| self.write_day(day, now))).await;
        written.into_iter().collect::<Result<(), Error>>()?;

        let letters = attempts
            .iter()
            .filter(|attempt| needs_dead_letter_index(attempt));
        let days = self.letter_days.missing(letters.map(dead_letter_day));
        let written = days
            .into_iter()
            .map(|day| self.write_dead_letter_day(day, now));
        join_all(written).await.into_iter().collect()
    }

    async fn write_day(&self, day: WebhookDay, now: CqlTimestamp) -> Result<(), Error> {
        let ((client, webhook), number) = day;
        let row = (id(client), webhook.0, number, now);
        self.write(&self.statements.insert_day, row).await?;
        self.days.add(day);
        Ok(())
    }

    async fn write_dead_letter_day(
        &self,
        day: DeadLetterDay,
        now: CqlTimestamp,
    ) -> Result<(), Error> {
        let row = (id(day.0), day.1, now);
        self.write(&self.statements.insert_letter_day, row).await?;
        self.letter_days.add(day);
        Ok(())
    }

    /// Writes an attempt; its index rows first, so that none is ever missing.
    async fn write_attempt(&self, attempt: &Attempt) -> Result<(), Error> {
        if needs_status_index(attempt) {
            self.write_status_index(attempt).await?;
        }
        if needs_dead_letter_index(attempt) {
            self.write_dead_letter_index(attempt).await?;
        }
        if made_request(attempt) && attempt.status != EventStatus::Delivered {
            self.write_failure(attempt).await?;
        }
        let row = NewRow::from(attempt);
        self.write(&self.statements.insert_attempt, row).await
    }

    async fn write_status_index(&self, attempt: &Attempt) -> Result<(), Error> {
        let delivery = &attempt.delivery;
        let ended = attempt.ended_at();
        let row = (
            id(delivery.client_id),
            delivery.webhook_id.0,
            day_of(attempt),
            delivery.event_id.0,
            i32::from(attempt.number),
            attempt.status.as_str(),
            time(ended),
            written_at(ended),
        );
        self.write(&self.statements.insert_attention, row).await
    }

    async fn write_dead_letter_index(&self, attempt: &Attempt) -> Result<(), Error> {
        let delivery = &attempt.delivery;
        let row = (
            id(delivery.client_id),
            day_of(attempt),
            delivery.event_id.0,
            i32::from(attempt.number),
            attempt.status.as_str(),
            delivery.webhook_id.0,
            written_at(attempt.ended_at()),
        );
        self.write(&self.statements.insert_letter, row).await
    }

    async fn write_failure(&self, attempt: &Attempt) -> Result<(), Error> {
        let delivery = &attempt.delivery;
        let ended = attempt.ended_at();
        let row = (
            id(delivery.client_id),
            delivery.webhook_id.0,
            ended.day(),
            time(ended),
            delivery.event_id.0,
            i32::from(attempt.number),
            attempt.outcome.as_str(),
            written_at(ended),
        );
        self.write(&self.statements.insert_failure, row).await
    }

    async fn update_state(&self, key: Key, update: &StateUpdate<'_>) -> Result<(), Error> {
        let client = id(key.0);
        let webhook = key.1.0;
        let statements = &self.statements;
        if let Some(at) = update.success {
            let row = (client, webhook, time(at), time(at), written_at(at));
            self.write(&statements.insert_success, row).await?;
        }
        if let Some((at, error)) = update.error {
            let row = (client, webhook, error, time(at), time(at), written_at(at));
            self.write(&statements.insert_error, row).await?;
        }
        if let Some(at) = update.given_up {
            let row = (client, webhook, time(at), written_at(at));
            self.write(&statements.insert_given_up, row).await?;
        }
        Ok(())
    }

    /// Writes the hourly sums that grew.
    pub(super) async fn flush_hours(&self) -> Result<(), Error> {
        let writes = stream::iter(self.hours.unwritten())
            .map(async |(place, sums)| self.write_hour(place, &sums).await);
        let written: Vec<Result<(), Error>> =
            writes.buffer_unordered(SUMS_IN_FLIGHT).collect().await;
        written.into_iter().collect()
    }

    async fn write_hour(&self, place: (Key, Timestamp), sums: &Sums) -> Result<(), Error> {
        let ((client, webhook), hour) = place;
        let stats = &sums.stats;
        let row = (
            id(client),
            webhook.0,
            time(hour),
            sums.writer,
            signed(stats.attempts),
            signed(stats.delivered),
            signed(stats.failed),
            signed(stats.latency_sum_ms),
            signed(stats.latency_max_ms),
            signed(stats.body_bytes),
        );
        self.write(&self.statements.insert_stats, row).await?;
        self.hours.mark_written(&place, sums.stats);
        Ok(())
    }

    /// Executes one statement, and again where that may help.
    async fn write(
        &self,
        statement: &PreparedStatement,
        row: impl SerializeRow,
    ) -> Result<(), Error> {
        let mut pause = FIRST_PAUSE;
        for tries in 1.. {
            let permit = self.writes.acquire().await.map_err(|_| Error::closed())?;
            let answer = self.session.execute_unpaged(statement, &row).await;
            drop(permit);
            let error = match answer {
                Ok(_) => {
                    telemetry::cql_statement(statement.get_table_name().unwrap_or_default());
                    return Ok(());
                }
                Err(error) => error,
            };
            let cause = Cause::of(&error);
            telemetry::cql_trouble(cause.as_str());
            // After a time-out the whole time is spent: the caller knows what to do.
            if matches!(cause, Cause::Refused | Cause::Timeout) || tries >= TRIES_MAX {
                return Err(cause.error(error));
            }
            let jitter = rand::rng().random_range(0.5..1.5);
            tokio::time::sleep(pause.mul_f64(jitter)).await;
            pause *= 2;
        }
        unreachable!("the loop returns")
    }
}

impl<'a> StateUpdate<'a> {
    fn add(&mut self, attempt: &'a Attempt) {
        let at = attempt.ended_at();
        if let Some(at) = succeeded_at(attempt) {
            // A success at the first attempt is in the static column of its day instead.
            self.success = self.success.max(needs_status_index(attempt).then_some(at));
        } else {
            // Of two at the same time the larger text wins, as it does among the columns of a row.
            let error = attempt.error.as_deref().unwrap_or_default();
            self.error = self.error.max(Some((at, error)));
        }
        if attempt.status == EventStatus::Failed {
            self.given_up = self.given_up.max(Some(at));
        }
    }
}

fn key_of(attempt: &Attempt) -> Key {
    (attempt.delivery.client_id, attempt.delivery.webhook_id)
}

/// The day of the publish, by which rows are partitioned.
fn day_of(attempt: &Attempt) -> i32 {
    attempt.delivery.event_id.timestamp().day()
}

fn webhook_day(attempt: &Attempt) -> WebhookDay {
    (key_of(attempt), day_of(attempt))
}

fn dead_letter_day(attempt: &Attempt) -> DeadLetterDay {
    (attempt.delivery.client_id, day_of(attempt))
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Whether a request was made. The other records say nothing about the webhook.
fn made_request(attempt: &Attempt) -> bool {
    !matches!(attempt.outcome, Outcome::Held | Outcome::WebhookGone)
}

/// Whether listings by status need an index row for this attempt: to find the event, or to see
/// that an older row about it is out of date.
fn needs_status_index(attempt: &Attempt) -> bool {
    let is_late = attempt.ended_at().since(attempt.delivery.created_at) > FIRST_TRY_WINDOW;
    attempt.status != EventStatus::Delivered || attempt.number > 1 || is_late
}

/// Whether listings of dead letters need an index row for this attempt. A later round of attempts
/// began as a dead letter, so it corrects the older row.
fn needs_dead_letter_index(attempt: &Attempt) -> bool {
    let is_later_round = attempt.delivery.attempt_count > attempt.delivery.attempts_this_round;
    attempt.status == EventStatus::Failed || is_later_round
}
