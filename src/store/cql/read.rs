//! Reading single events and hourly figures.

use std::{cmp::Reverse, collections::HashMap};

use bytes::Bytes;
use futures_util::TryStreamExt;
use scylla::{
    serialize::row::SerializeRow, statement::prepared::PreparedStatement, value::CqlTimestamp,
};

use super::{
    Connected,
    cause::read_failed,
    recent::Key,
    rows::{Row, damaged, from_time, id, time},
};
use crate::{
    model::{Attempt, Event, EventId, HourStats, Timestamp},
    store::{ATTEMPTS_MAX, Error, hours::hour_of},
};

/// A row of `webhook_stats`: hour, attempts, delivered, failed, sum and maximum of the latency,
/// bytes of bodies.
type StatsRow = (CqlTimestamp, i64, i64, i64, i64, i64, i64);

impl Connected {
    pub(super) async fn event(&self, key: Key, event: EventId) -> Result<Option<Event>, Error> {
        let place = (id(key.0), key.1.0, event.timestamp().day(), event.0);
        let _permit = self.reads.acquire().await.map_err(|_| Error::closed())?;
        let statement = self.statements.select_event.clone();
        let rows = self.session.execute_iter(statement, place).await;
        let rows = rows.map_err(Error::failed)?;
        let mut rows = rows.rows_stream::<Row>().map_err(damaged)?;
        let mut shown: Vec<Row> = Vec::new();
        let mut body = Bytes::new();
        while let Some(mut row) = rows.try_next().await.map_err(Error::failed)? {
            // All have the same.
            let own = std::mem::take(&mut row.body);
            if shown.is_empty() {
                body = own.into();
            }
            // Newest start first. An attempt that a crash made twice is shown once.
            match shown.last_mut() {
                Some(newer) if row.counts_before(newer) => *newer = row,
                Some(newer) if row.attempt == newer.attempt => {}
                _ => shown.push(row),
            }
            if shown.len() > ATTEMPTS_MAX {
                shown.pop();
                break;
            }
        }
        let attempts = shown.into_iter().rev().map(|row| {
            let mut attempt = Attempt::try_from(row)?;
            attempt.delivery.body = body.clone();
            Ok(attempt)
        });
        let attempts = attempts.collect::<Result<Vec<_>, Error>>()?;
        Ok((!attempts.is_empty()).then_some(Event { attempts }))
    }

    pub(super) async fn stats(
        &self,
        key: Key,
        since: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<HourStats>, Error> {
        let since = hour_of(since);
        let place = (id(key.0), key.1.0, time(since), time(until));
        // Read before the rows: a flush in between would otherwise be missed. At worst it is
        // counted twice for a moment.
        let unwritten = self.hours.unwritten_of(&key);
        let rows: Vec<StatsRow> = self.read_all(&self.statements.select_stats, place).await?;
        let written = rows.into_iter().map(hour_stats);
        let in_range = unwritten
            .into_iter()
            .filter(|stats| stats.hour >= since && stats.hour < until);
        let mut hours: HashMap<Timestamp, HourStats> = HashMap::new();
        for stats in written.chain(in_range) {
            let sum = hours
                .entry(stats.hour)
                .or_insert_with(|| HourStats::new(stats.hour));
            *sum = sum.with(&stats);
        }
        let mut hours: Vec<_> = hours.into_values().collect();
        hours.sort_by_key(|stats| Reverse(stats.hour));
        Ok(hours)
    }

    pub(super) async fn ping(&self) -> Result<(), Error> {
        self.session
            .execute_unpaged(&self.statements.ping, ())
            .await
            .map(drop)
            .map_err(read_failed)
    }

    /// All rows of an answer that fits on one page.
    pub(super) async fn read_all<T>(
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

fn hour_stats((hour, attempts, delivered, failed, sum, max, bytes): StatsRow) -> HourStats {
    HourStats {
        hour: from_time(hour),
        attempts: unsigned(attempts),
        delivered: unsigned(delivered),
        failed: unsigned(failed),
        latency_sum_ms: unsigned(sum),
        latency_max_ms: unsigned(max),
        body_bytes: unsigned(bytes),
    }
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}
