//! Rows to attempts.

use rusqlite::{Row, types::Type};
use serde::de::{DeserializeOwned, IntoDeserializer, value};

use crate::model::{Attempt, ClientId, Delivery, EventId, Priority, Timestamp, WebhookId};

/// The columns that [`attempt`] reads, by name.
pub(super) const COLUMNS: &str = "
    a.client_id, a.webhook_id, a.event_id, a.number, a.phone, a.message_id, a.kind, a.body,
    a.tries, a.outcome, a.status, a.http_status, a.response, a.error, a.created_at,
    a.started_at, a.latency_ms, a.next_retry_at";

fn damaged(error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error))
}

/// An enum from the text that serde writes for it.
fn named<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    let name: String = row.get(column)?;
    T::deserialize(IntoDeserializer::<value::Error>::into_deserializer(name)).map_err(damaged)
}

fn parsed<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    row: &Row<'_>,
    column: &str,
) -> rusqlite::Result<T> {
    row.get::<_, String>(column)?.parse().map_err(damaged)
}

pub(super) fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row
        .get::<_, Option<i64>>(column)?
        .map(Timestamp::from_millis))
}

pub(super) fn attempt(row: &Row<'_>) -> rusqlite::Result<Attempt> {
    let number: u16 = row.get("number")?;
    let client = u64::try_from(row.get::<_, i64>("client_id")?).unwrap_or_default();
    Ok(Attempt {
        delivery: Delivery {
            event_id: parsed::<EventId>(row, "event_id")?,
            webhook_id: parsed::<WebhookId>(row, "webhook_id")?,
            client_id: ClientId::try_from(client).map_err(damaged)?,
            phone: parsed(row, "phone")?,
            message_id: parsed(row, "message_id")?,
            kind: named(row, "kind")?,
            created_at: time(row, "created_at")?.unwrap_or(Timestamp::EPOCH),
            body: row.get::<_, Vec<u8>>("body")?.into(),
            attempt_count: number.saturating_sub(1),
            attempts_this_round: row.get("tries")?,
            // Not stored: a replay sets its own priority and keeps no chat order.
            priority: Priority::Normal,
            chat_key: None,
        },
        number,
        outcome: named(row, "outcome")?,
        status: named(row, "status")?,
        http_status: row.get("http_status")?,
        response: row.get("response")?,
        error: row.get("error")?,
        started_at: time(row, "started_at")?.unwrap_or(Timestamp::EPOCH),
        latency_ms: row.get("latency_ms")?,
        next_retry_at: time(row, "next_retry_at")?,
    })
}
