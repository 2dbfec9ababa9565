//! Reading: newest first over days, or from hints to rows.

use std::{cmp::Reverse, collections::HashMap};

use futures_util::{
    TryStreamExt,
    future::{join_all, try_join},
};
use scylla::{
    serialize::row::SerializeRow, statement::prepared::PreparedStatement, value::CqlTimestamp,
};
use uuid::Uuid;

use super::{
    Connected,
    cause::read_failed,
    recent::Key,
    rows::{Row, damaged, from_time, id, time},
    write::PERHAPS_HELD,
};
use crate::{
    model::{
        Attempt, ClientId, Event, EventFilter, EventId, EventStatus, HourStats, Position,
        Timestamp, WebhookId, WebhookState,
    },
    store::Error,
};

/// Failures that are counted one by one.
const FAILURES_MAX: i32 = 1000;
/// Hints that are followed at once.
const CANDIDATES: usize = 50;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The lowest and highest id with the version and variant of an event id: servers compare the
/// version first.
const LOWEST: Uuid = Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0000);
const HIGHEST: Uuid = Uuid::from_u128(0xffff_ffff_ffff_8fff_bfff_ffff_ffff_ffff);

/// Event ids sort by time: a time is a place among them. Not above any id of this millisecond.
fn first_id_at(at: Timestamp) -> Uuid {
    let millis = u128::from(u64::try_from(at.millis()).unwrap_or_default());
    Uuid::from_u128(millis << 80 | LOWEST.as_u128())
}

/// Ids from `from` up to below `below`, and the days they are on.
#[derive(Clone, Copy)]
struct Span {
    from: Uuid,
    below: Uuid,
}

impl Span {
    fn new(filter: EventFilter, after: Option<Position>) -> Self {
        let until = filter.until.map_or(HIGHEST, first_id_at);
        Self {
            from: filter.since.map_or(LOWEST, first_id_at),
            below: after.map_or(until, |after| until.min(after.0)),
        }
    }

    fn days(self) -> (i32, i32) {
        // The highest id is beyond any calendar.
        let day = |id: Uuid| EventId(id).timestamp().day();
        (day(self.below), day(self.from))
    }
}

/// A row of hints: an event that may stand so.
type Hint = (Uuid, i32, String, Uuid);

impl Connected {
    pub(super) async fn event(&self, key: Key, event: EventId) -> Result<Option<Event>, Error> {
        let client = id(key.0);
        let webhook = key.1.0;
        let day = event.timestamp().day();
        let rows: Vec<Row> = self
            .all(
                &self.statements.select_event,
                (client, webhook, day, event.0),
            )
            .await?;
        let mut attempts: Vec<Attempt> = Vec::new();
        for row in rows {
            // Newest start first: an attempt that a crash made twice is shown as it ended.
            if attempts
                .last()
                .is_none_or(|last| i32::from(last.number) != row.attempt)
            {
                attempts.push(row.try_into()?);
            }
        }
        attempts.reverse();
        Ok((!attempts.is_empty()).then_some(Event { attempts }))
    }

    pub(super) async fn events(
        &self,
        key: Key,
        filter: EventFilter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        let span = Span::new(filter, after);
        let (last, first) = span.days();
        let days: Vec<(i32,)> = self
            .all(
                &self.statements.select_days,
                (id(key.0), key.1.0, last, first),
            )
            .await?;
        let mut found = Vec::new();
        for (day,) in days {
            match filter.status {
                None | Some(EventStatus::Delivered) => {
                    self.walk(key, day, span, filter.status, limit, &mut found)
                        .await?
                }
                Some(status) => {
                    let place = (id(key.0), key.1.0, day, span.below, span.from);
                    self.follow(
                        &self.statements.select_attention,
                        place,
                        key.0,
                        status,
                        limit,
                        &mut found,
                    )
                    .await?;
                }
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    pub(super) async fn dead_letters(
        &self,
        client: ClientId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        let span = Span::new(EventFilter::default(), after);
        let (last, first) = span.days();
        let days: Vec<(i32,)> = self
            .all(
                &self.statements.select_letter_days,
                (id(client), last, first),
            )
            .await?;
        let mut found = Vec::new();
        for (day,) in days {
            let place = (id(client), day, span.below);
            self.follow(
                &self.statements.select_letters,
                place,
                client,
                EventStatus::Failed,
                limit,
                &mut found,
            )
            .await?;
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// One day's events in order, the newest attempt of each.
    async fn walk(
        &self,
        key: Key,
        day: i32,
        span: Span,
        status: Option<EventStatus>,
        limit: usize,
        found: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let place = (id(key.0), key.1.0, day, span.below, span.from);
        let mut statement = self.statements.select_attempts.clone();
        let page = i32::try_from(limit.saturating_sub(found.len()) + 1).unwrap_or(i32::MAX);
        statement.set_page_size(page.min(statement.get_page_size()));
        let _permit = self.reads.acquire().await.map_err(|_| Error::closed())?;
        let rows = self
            .session
            .execute_iter(statement, place)
            .await
            .map_err(Error::failed)?;
        let mut rows = rows.rows_stream::<Row>().map_err(damaged)?;
        let mut last = None;
        while found.len() < limit
            && let Some(row) = rows.try_next().await.map_err(Error::failed)?
        {
            if last.replace(row.event_id) != Some(row.event_id) {
                let attempt = Attempt::try_from(row)?;
                if status.is_none_or(|status| status == attempt.status) {
                    found.push(Event {
                        attempts: vec![attempt],
                    });
                }
            }
        }
        Ok(())
    }

    /// From one day's hints to the events that stand so indeed.
    async fn follow(
        &self,
        hints: &PreparedStatement,
        place: impl SerializeRow,
        client: ClientId,
        status: EventStatus,
        limit: usize,
        found: &mut Vec<Event>,
    ) -> Result<(), Error> {
        let permit = self.reads.acquire().await.map_err(|_| Error::closed())?;
        let rows = self
            .session
            .execute_iter(hints.clone(), place)
            .await
            .map_err(Error::failed)?;
        let mut rows = rows.rows_stream::<Hint>().map_err(damaged)?;
        // Following needs permits of its own.
        drop(permit);
        let mut newest: Option<(Uuid, i32)> = None;
        let mut candidates: Vec<(Uuid, Uuid)> = Vec::new();
        while found.len() < limit {
            let hint = rows.try_next().await.map_err(Error::failed)?;
            let over = hint.is_none();
            if let Some((event, attempt, stands, webhook)) = hint {
                let (of, number) = *newest.get_or_insert((event, attempt));
                if of != event {
                    newest = Some((event, attempt));
                }
                // Only what is said of the newest attempt counts.
                let counts = of != event || number == attempt;
                if counts
                    && stands == status.as_str()
                    && candidates.last() != Some(&(event, webhook))
                {
                    candidates.push((event, webhook));
                }
            }
            if candidates.len() >= CANDIDATES || over {
                for event in self.newest(client, std::mem::take(&mut candidates)).await? {
                    if event.last().status == status && found.len() < limit {
                        found.push(event);
                    }
                }
            }
            if over {
                break;
            }
        }
        Ok(())
    }

    /// These events, each with its newest attempt, in the same order; without those that are not
    /// there any more.
    async fn newest(
        &self,
        client: ClientId,
        events: Vec<(Uuid, Uuid)>,
    ) -> Result<Vec<Event>, Error> {
        let one = async |(event, webhook): (Uuid, Uuid)| {
            let day = EventId(event).timestamp().day();
            let rows: Vec<Row> = self
                .all(
                    &self.statements.select_newest,
                    (id(client), webhook, day, event),
                )
                .await?;
            rows.into_iter().next().map(Attempt::try_from).transpose()
        };
        let mut found = Vec::new();
        for attempt in join_all(events.into_iter().map(one)).await {
            found.extend(attempt?.map(|attempt| Event {
                attempts: vec![attempt],
            }));
        }
        Ok(found)
    }

    pub(super) async fn states(
        &self,
        client: ClientId,
        webhooks: &[WebhookId],
    ) -> Result<HashMap<WebhookId, WebhookState>, Error> {
        let one = async |webhook: &WebhookId| Ok((*webhook, self.state((client, *webhook)).await?));
        let all: Result<Vec<_>, Error> = join_all(webhooks.iter().map(one))
            .await
            .into_iter()
            .collect();
        Ok(all?
            .into_iter()
            .filter_map(|(webhook, state)| Some((webhook, state?)))
            .collect())
    }

    async fn state(&self, key: Key) -> Result<Option<WebhookState>, Error> {
        type StateRow = (
            Option<String>,
            Option<CqlTimestamp>,
            Option<CqlTimestamp>,
            Option<CqlTimestamp>,
        );
        let rows = self.all::<StateRow>(&self.statements.select_state, (id(key.0), key.1.0));
        let (rows, at_once) = try_join(rows, self.newest_success(key)).await?;
        if rows.is_empty() && at_once.is_none() {
            return Ok(None);
        }
        let (error, success, failed, attempt) = rows.into_iter().next().unwrap_or_default();
        let success = success.map(from_time).max(at_once);
        let failed = failed.map(from_time);
        let attempt = attempt.map(from_time).max(at_once);
        Ok(Some(WebhookState {
            failure_count: self.failures(key, success, attempt).await?,
            failed: failed > success,
            last_error: error.filter(|error| !error.is_empty()),
            last_success_at: success,
            last_attempt_at: attempt,
        }))
    }

    /// The end of the newest success among those that went through at once: the rows of their days
    /// have it.
    async fn newest_success(&self, key: Key) -> Result<Option<Timestamp>, Error> {
        type SuccessRow = (i64, Uuid, i32, Option<CqlTimestamp>);
        let days: Vec<(i32,)> = self
            .all(&self.statements.select_newest_days, (id(key.0), key.1.0))
            .await?;
        let mut newest = None;
        for (day,) in days {
            let rows: Vec<SuccessRow> = self
                .all(&self.statements.select_success, (id(key.0), key.1.0, day))
                .await?;
            newest = newest.max(rows.into_iter().find_map(|row| row.3).map(from_time));
            // A day is that of the publish: what was published just before midnight may have ended
            // later than this.
            let settled = Timestamp::from_millis(i64::from(day) * DAY_MS).after(PERHAPS_HELD);
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
        let kept = i32::try_from(self.retention.as_secs() / 86_400).unwrap_or(i32::MAX);
        let since = success.unwrap_or(Timestamp::EPOCH);
        let first = since.day().max(newest.day().saturating_sub(kept)).max(-1);
        let mut count = 0;
        let after = success.map_or(CqlTimestamp(-1), time);
        for day in (first..=newest.day()).rev() {
            let left = FAILURES_MAX - count;
            let place = (id(key.0), key.1.0, day, after, left);
            let rows: Vec<(CqlTimestamp,)> =
                self.all(&self.statements.select_failures, place).await?;
            count += i32::try_from(rows.len()).unwrap_or(left);
            if count >= FAILURES_MAX {
                break;
            }
        }
        Ok(u32::try_from(count).unwrap_or_default())
    }

    pub(super) async fn stats(
        &self,
        key: Key,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<HourStats>, Error> {
        type StatsRow = (CqlTimestamp, i64, i64, i64, i64, i64, i64);
        let hour =
            |at: Timestamp| Timestamp::from_millis(at.millis() - at.millis().rem_euclid(HOUR_MS));
        let since = hour(since);
        let place = (id(key.0), key.1.0, time(since), time(until));
        // Before the rows: a flush in between would otherwise be missed. At worst it is counted
        // twice for a moment.
        let ahead = self.hours.ahead(&key);
        let rows: Vec<StatsRow> = self.all(&self.statements.select_stats, place).await?;
        let big = |number: i64| u64::try_from(number).unwrap_or_default();
        let stored =
            rows.into_iter()
                .map(
                    |(hour, attempts, delivered, failed, sum, max, bytes)| HourStats {
                        hour: from_time(hour),
                        attempts: big(attempts),
                        delivered: big(delivered),
                        failed: big(failed),
                        latency_sum_ms: big(sum),
                        latency_max_ms: big(max),
                        body_bytes: big(bytes),
                    },
                );
        let mut hours: HashMap<Timestamp, HourStats> = HashMap::new();
        let within = |one: &HourStats| one.hour >= since && one.hour < until;
        for one in stored.chain(ahead.into_iter().filter(within)) {
            let sum = hours
                .entry(one.hour)
                .or_insert_with(|| HourStats::new(one.hour));
            *sum = sum.with(&one);
        }
        let mut hours: Vec<_> = hours.into_values().collect();
        hours.sort_by_key(|one| Reverse(one.hour));
        Ok(hours)
    }

    pub(super) async fn ping(&self) -> Result<(), Error> {
        self.session
            .execute_unpaged(&self.statements.ping, ())
            .await
            .map(drop)
            .map_err(read_failed)
    }

    /// All rows of an answer that is known to be short.
    async fn all<T>(
        &self,
        statement: &PreparedStatement,
        place: impl SerializeRow,
    ) -> Result<Vec<T>, Error>
    where
        T: for<'frame, 'metadata> scylla::deserialize::row::DeserializeRow<'frame, 'metadata>,
    {
        let _permit = self.reads.acquire().await.map_err(|_| Error::closed())?;
        let answer = self
            .session
            .execute_unpaged(statement, place)
            .await
            .map_err(read_failed)?;
        let rows = answer.into_rows_result().map_err(damaged)?;
        rows.rows::<T>()
            .map_err(damaged)?
            .collect::<Result<_, _>>()
            .map_err(damaged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_place_among_ids() {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let id = first_id_at(at);
        assert_eq!((EventId(id).timestamp(), id.get_version_num()), (at, 8));
        assert!(
            LOWEST < id
                && id < first_id_at(Timestamp::from_millis(1_700_000_000_001))
                && id < HIGHEST
        );
    }

    #[test]
    fn the_widest_span_covers_all_days() {
        let (last, first) = Span::new(EventFilter::default(), None).days();
        assert!(first <= 0 && last > 100_000);
    }
}
