//! The queries of the embedded store.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use uuid::Uuid;

use super::rows::{COLUMNS, attempt, time};
use crate::{
    model::{
        Attempt, ClientId, Event, EventFilter, EventId, EventStatus, HourStats, Position,
        Timestamp, WebhookId, WebhookState,
    },
    store::{ATTEMPTS_MAX, PageEvents, hours::hour_of},
};

/// SQLite's integers are signed; client ids end at 2^53.
pub(super) fn id(client: ClientId) -> i64 {
    i64::try_from(client.get()).expect("client ids end at 2^53")
}

pub(super) fn event(
    connection: &Connection,
    client: ClientId,
    webhook: WebhookId,
    event: EventId,
) -> rusqlite::Result<Option<Event>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS}
         FROM attempts a
         WHERE client_id = ? AND webhook_id = ? AND event_id = ?
         ORDER BY number DESC
         LIMIT ?"
    ))?;
    let limit = i64::try_from(ATTEMPTS_MAX).unwrap_or(i64::MAX);
    let place = params![id(client), webhook.to_string(), event.to_string(), limit];
    let mut attempts: Vec<Attempt> = Vec::new();
    for attempt in statement.query_map(place, attempt)? {
        let mut attempt = attempt?;
        if let Some(newest) = attempts.first() {
            attempt.delivery.body = newest.delivery.body.clone();
        }
        attempts.push(attempt);
    }
    attempts.reverse();
    Ok((!attempts.is_empty()).then_some(Event { attempts }))
}

/// Below every id of this millisecond: event ids sort by time.
fn first_id_at(time: Timestamp) -> String {
    let millis = u64::try_from(time.millis()).unwrap_or_default();
    // Without the bits of version and variant, so lower than any real id.
    Uuid::from_u128(u128::from(millis) << 80).to_string()
}

pub(super) fn events(
    connection: &Connection,
    client: ClientId,
    webhook: WebhookId,
    filter: EventFilter,
    after: Option<Position>,
    limit: usize,
) -> rusqlite::Result<Vec<Event>> {
    // `~` sorts after every hex digit, so it is no limit.
    let until = filter.until.map_or("~".to_owned(), first_id_at);
    let before = after.map_or("~".to_owned(), |position| position.to_string());
    let (index, status) = match filter.status {
        None => ("", "AND :status IS NULL"),
        // A scan: most events are delivered. Only a webhook that hardly delivers anything pays.
        Some(EventStatus::Delivered) => ("", "AND e.status = :status"),
        // By itself SQLite would take the primary key and read the webhook's whole history for a
        // rare status. The second condition repeats the index's, without which it is not used.
        Some(_) => (
            "INDEXED BY events_undelivered",
            "AND e.status = :status AND e.status <> 'delivered'",
        ),
    };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS}
         FROM events e {index}
         JOIN attempts a USING (webhook_id, event_id, number)
         WHERE e.client_id = :client
             AND e.webhook_id = :webhook
             {status}
             AND e.event_id >= :since
             AND e.event_id < :before
         ORDER BY e.event_id DESC
         LIMIT :limit"
    ))?;
    let rows = statement.query_map(
        named_params! {
            ":client": id(client),
            ":webhook": webhook.to_string(),
            ":status": filter.status.map(|status| status.as_str()),
            ":since": filter.since.map_or(String::new(), first_id_at),
            ":before": until.min(before),
            ":limit": i64::try_from(limit).unwrap_or(i64::MAX),
        },
        event_with_newest_attempt,
    )?;
    page(rows, limit)
}

pub(super) fn dead_letters(
    connection: &Connection,
    client: ClientId,
    after: Option<Position>,
    limit: usize,
) -> rusqlite::Result<Vec<Event>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {COLUMNS}
         FROM events e
         JOIN attempts a USING (webhook_id, event_id, number)
         WHERE e.client_id = ? AND e.status = 'failed' AND e.event_id < ?
         ORDER BY e.event_id DESC
         LIMIT ?"
    ))?;
    let before = after.map_or("~".to_owned(), |position| position.to_string());
    let rows = statement.query_map(
        params![id(client), before, i64::try_from(limit).unwrap_or(i64::MAX)],
        event_with_newest_attempt,
    )?;
    page(rows, limit)
}

/// The first rows that fit into a page.
fn page(
    rows: impl Iterator<Item = rusqlite::Result<Event>>,
    limit: usize,
) -> rusqlite::Result<Vec<Event>> {
    let mut page = PageEvents::new(limit);
    for event in rows {
        page.push(event?);
        if page.is_full() {
            break;
        }
    }
    Ok(page.into_events())
}

fn event_with_newest_attempt(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        attempts: vec![attempt(row)?],
    })
}

pub(super) fn states(
    connection: &Connection,
    client: ClientId,
    webhooks: &[WebhookId],
) -> rusqlite::Result<HashMap<WebhookId, WebhookState>> {
    let mut statement = connection.prepare_cached(
        "SELECT failure_count, last_error, last_success_at, last_failed_at, last_attempt_at
         FROM webhook_state
         WHERE client_id = ? AND webhook_id = ?",
    )?;
    let mut states = HashMap::new();
    for webhook in webhooks {
        let place = params![id(client), webhook.to_string()];
        let state = statement.query_row(place, webhook_state);
        if let Some(state) = state.optional()? {
            states.insert(*webhook, state);
        }
    }
    Ok(states)
}

fn webhook_state(row: &Row<'_>) -> rusqlite::Result<WebhookState> {
    let success = time(row, "last_success_at")?;
    let failed = time(row, "last_failed_at")?;
    Ok(WebhookState {
        failure_count: row.get("failure_count")?,
        failed: failed > success,
        last_error: row.get("last_error")?,
        last_success_at: success,
        last_attempt_at: time(row, "last_attempt_at")?,
    })
}

pub(super) fn stats(
    connection: &Connection,
    client: ClientId,
    webhook: WebhookId,
    since: Timestamp,
    until: Timestamp,
) -> rusqlite::Result<Vec<HourStats>> {
    let mut statement = connection.prepare_cached(
        "SELECT hour, attempts, delivered, failed, latency_sum, latency_max, body_bytes
         FROM webhook_hours
         WHERE webhook_id = :webhook
             AND hour >= :since
             AND hour < :until
             AND client_id = :client
             AND attempts > 0
         ORDER BY hour DESC",
    )?;
    let rows = statement.query_map(
        named_params! {
            ":client": id(client),
            ":webhook": webhook.to_string(),
            ":since": hour_of(since).millis(),
            ":until": until.millis(),
        },
        hour_stats,
    )?;
    rows.collect()
}

fn hour_stats(row: &Row<'_>) -> rusqlite::Result<HourStats> {
    Ok(HourStats {
        hour: Timestamp::from_millis(row.get("hour")?),
        attempts: sum(row, "attempts")?,
        delivered: sum(row, "delivered")?,
        failed: sum(row, "failed")?,
        latency_sum_ms: sum(row, "latency_sum")?,
        latency_max_ms: sum(row, "latency_max")?,
        body_bytes: sum(row, "body_bytes")?,
    })
}

fn sum(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let sum: i64 = row.get(column)?;
    Ok(u64::try_from(sum).unwrap_or_default())
}
