//! Writing: what an attempt leaves behind, and trying again.

use std::{
    collections::HashMap,
    time::{Duration, SystemTime},
};

use futures_util::{StreamExt, future::join_all, stream};
use rand::Rng;
use scylla::{serialize::row::SerializeRow, statement::prepared::PreparedStatement};

use super::{
    Connected,
    cause::Cause,
    recent::Key,
    rows::{NewRow, id, succeeded_at, time, written_at},
};
use crate::{
    model::{Attempt, EventStatus, Outcome, Timestamp},
    store::Error,
    telemetry,
};

/// Tries of one statement, beside what the driver repeats by itself. Who called tries the whole
/// again.
const TRIES: u32 = 5;
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// A first attempt that ends later than this after the publish may have been held meanwhile.
pub(super) const PERHAPS_HELD: Duration = Duration::from_secs(10);
/// Sums written at once: few, so that attempts do not wait behind those of a hundred thousand
/// webhooks.
const SUMS_AT_ONCE: usize = 16;

/// What one call says of a webhook beyond its attempts' own rows, folded.
#[derive(Default)]
struct News<'a> {
    success: Option<Timestamp>,
    error: Option<(Timestamp, &'a str)>,
    given_up: Option<Timestamp>,
}

impl Connected {
    pub(super) async fn record(&self, attempts: &[Attempt]) -> Result<(), Error> {
        let mut news: HashMap<Key, News<'_>> = HashMap::new();
        for attempt in attempts.iter().filter(|one| is_real(one)) {
            let key = (attempt.delivery.client_id, attempt.delivery.webhook_id);
            news.entry(key).or_default().add(attempt);
        }
        // First what leads to the rows: a day that is not listed would hide them.
        self.list_days(attempts).await?;
        // All are waited for, whatever one says: a statement that is dropped half-way keeps its
        // place on the connection. The semaphore bounds how many are under way.
        let rows = join_all(attempts.iter().map(|attempt| self.attempt(attempt))).await;
        rows.into_iter().collect::<Result<(), Error>>()?;
        let states = join_all(news.iter().map(|(key, news)| self.news(*key, news))).await;
        states.into_iter().collect::<Result<(), Error>>()?;
        for attempt in attempts {
            if !self.hours.add(attempt) {
                telemetry::error("store", "stats_full");
            }
        }
        Ok(())
    }

    /// Days that are not known to be listed; each once, however many attempts are of it.
    async fn list_days(&self, attempts: &[Attempt]) -> Result<(), Error> {
        let now = time(Timestamp::from_system(SystemTime::now()));
        let all = &self.statements;
        let days = self.days.unknown(attempts.iter().map(|attempt| {
            let delivery = &attempt.delivery;
            (
                (delivery.client_id, delivery.webhook_id),
                delivery.event_id.timestamp().day(),
            )
        }));
        let listed = join_all(days.into_iter().map(async |known| {
            let ((client, webhook), day) = known;
            self.write(&all.insert_day, (id(client), webhook.0, day, now))
                .await?;
            self.days.add(known);
            Ok(())
        }));
        listed.await.into_iter().collect::<Result<(), Error>>()?;
        let letters = attempts.iter().filter(|attempt| is_letter(attempt));
        let days = self.letter_days.unknown(letters.map(|attempt| {
            (
                attempt.delivery.client_id,
                attempt.delivery.event_id.timestamp().day(),
            )
        }));
        let listed = join_all(days.into_iter().map(async |known| {
            self.write(&all.insert_letter_day, (id(known.0), known.1, now))
                .await?;
            self.letter_days.add(known);
            Ok(())
        }));
        listed.await.into_iter().collect()
    }

    async fn attempt(&self, attempt: &Attempt) -> Result<(), Error> {
        let delivery = &attempt.delivery;
        let client = id(delivery.client_id);
        let webhook = delivery.webhook_id.0;
        let event = delivery.event_id.0;
        let day = delivery.event_id.timestamp().day();
        let number = i32::from(attempt.number);
        let status = attempt.status.as_str();
        let stamp = written_at(attempt.ended_at());
        let all = &self.statements;

        if is_troubled(attempt) {
            let row = (
                client,
                webhook,
                day,
                event,
                number,
                status,
                time(attempt.ended_at()),
                stamp,
            );
            self.write(&all.insert_attention, row).await?;
        }
        if is_letter(attempt) {
            self.write(
                &all.insert_letter,
                (client, day, event, number, status, webhook, stamp),
            )
            .await?;
        }
        if is_real(attempt) && attempt.status != EventStatus::Delivered {
            let ended = attempt.ended_at();
            let row = (
                client,
                webhook,
                ended.day(),
                time(ended),
                event,
                number,
                attempt.outcome.as_str(),
                stamp,
            );
            self.write(&all.insert_failure, row).await?;
        }
        self.write(&all.insert_attempt, NewRow::from(attempt)).await
    }

    async fn news(&self, key: Key, news: &News<'_>) -> Result<(), Error> {
        let client = id(key.0);
        let webhook = key.1.0;
        let all = &self.statements;
        if let Some(at) = news.success {
            let row = (client, webhook, time(at), time(at), written_at(at));
            self.write(&all.insert_success, row).await?;
        }
        if let Some((at, error)) = news.error {
            let row = (client, webhook, error, time(at), time(at), written_at(at));
            self.write(&all.insert_error, row).await?;
        }
        if let Some(at) = news.given_up {
            self.write(
                &all.insert_given_up,
                (client, webhook, time(at), written_at(at)),
            )
            .await?;
        }
        Ok(())
    }

    /// Sums that grew.
    pub(super) async fn flush_hours(&self) -> Result<(), Error> {
        let written = stream::iter(self.hours.unwritten()).map(async |(place, sums)| {
            let ((client, webhook), hour) = place;
            let stats = &sums.stats;
            let big = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            let row = (
                id(client),
                webhook.0,
                time(hour),
                sums.writer,
                big(stats.attempts),
                big(stats.delivered),
                big(stats.failed),
                big(stats.latency_sum_ms),
                big(stats.latency_max_ms),
                big(stats.body_bytes),
            );
            self.write(&self.statements.insert_stats, row).await?;
            self.hours.wrote(&place, sums.stats);
            Ok(())
        });
        let written: Vec<Result<(), Error>> =
            written.buffer_unordered(SUMS_AT_ONCE).collect().await;
        written.into_iter().collect()
    }

    /// One statement, tried again where that may help.
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
            if matches!(cause, Cause::Refused | Cause::Timeout) || tries >= TRIES {
                return Err(cause.error(error));
            }
            let jitter = rand::rng().random_range(0.5..1.5);
            tokio::time::sleep(pause.mul_f64(jitter)).await;
            pause *= 2;
        }
        unreachable!("the loop returns")
    }
}

impl<'a> News<'a> {
    fn add(&mut self, attempt: &'a Attempt) {
        let at = attempt.ended_at();
        if let Some(at) = succeeded_at(attempt) {
            // One that went through at once says so in its own row.
            self.success = self.success.max(is_troubled(attempt).then_some(at));
        } else {
            // Of two at the same time the larger text wins, as it does among the columns of a row.
            self.error = self
                .error
                .max(Some((at, attempt.error.as_deref().unwrap_or_default())));
        }
        if attempt.status == EventStatus::Failed {
            self.given_up = self.given_up.max(Some(at));
        }
    }
}

/// Whether a request was made: what was only held, or came too late for its webhook, says nothing
/// about it.
fn is_real(attempt: &Attempt) -> bool {
    !matches!(attempt.outcome, Outcome::Held | Outcome::WebhookGone)
}

/// Whether listings by status must be able to find it, or to know that it is over.
fn is_troubled(attempt: &Attempt) -> bool {
    let late = attempt.ended_at().since(attempt.delivery.created_at) > PERHAPS_HELD;
    attempt.status != EventStatus::Delivered || attempt.number > 1 || late
}

/// Whether listings of dead letters must be able to find it; a later round began among them, and
/// has to take the event out.
fn is_letter(attempt: &Attempt) -> bool {
    attempt.status == EventStatus::Failed
        || attempt.delivery.attempt_count > attempt.delivery.attempts_this_round
}
