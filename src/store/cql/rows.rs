//! Attempts to rows of `events`, and back.

use scylla::{
    DeserializeRow, SerializeRow,
    value::{CqlTimestamp, MaybeUnset},
};
use serde::{
    Deserialize,
    de::{IntoDeserializer, value},
};
use uuid::Uuid;

use crate::{
    model::{
        Attempt, ClientId, Delivery, EventId, EventStatus, Kind, Outcome, Priority, Timestamp,
        WebhookId,
    },
    store::{Error, ErrorKind},
};

/// The columns that [`Row`] reads.
pub(super) const COLUMNS: &str = "
    client_id, webhook_id, event_id, attempt, phone, message_id, kind, body, tries, outcome,
    status, http_status, response, error, created_at, started_at, latency_ms, next_retry_at";

/// Client ids end at 2^53.
pub(super) fn id(client: ClientId) -> i64 {
    i64::try_from(client.get()).expect("client ids end at 2^53")
}

pub(super) fn time(at: Timestamp) -> CqlTimestamp {
    CqlTimestamp(at.millis())
}

pub(super) fn from_time(at: CqlTimestamp) -> Timestamp {
    Timestamp::from_millis(at.0)
}

/// The write timestamp of a row about this attempt: the same however often it is written.
pub(super) fn written_at(at: Timestamp) -> i64 {
    at.millis().saturating_mul(1000)
}

/// When the receiver accepted it, if it did.
pub(super) fn succeeded_at(attempt: &Attempt) -> Option<Timestamp> {
    (attempt.status == EventStatus::Delivered).then(|| attempt.ended_at())
}

/// A row to write. Missing values stay unset: a null would be a tombstone.
#[derive(SerializeRow)]
pub(super) struct NewRow<'a> {
    client_id: i64,
    webhook_id: Uuid,
    day: i32,
    last_success_at: MaybeUnset<CqlTimestamp>,
    event_id: Uuid,
    attempt: i32,
    phone: &'a str,
    message_id: &'a str,
    kind: &'a str,
    body: &'a [u8],
    tries: i32,
    outcome: &'static str,
    status: &'static str,
    http_status: MaybeUnset<i32>,
    response: MaybeUnset<&'a str>,
    error: MaybeUnset<&'a str>,
    created_at: CqlTimestamp,
    started_at: CqlTimestamp,
    latency_ms: i64,
    next_retry_at: MaybeUnset<CqlTimestamp>,
    #[scylla(rename = "[timestamp]")]
    timestamp: i64,
}

impl<'a> From<&'a Attempt> for NewRow<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        let delivery = &attempt.delivery;
        Self {
            client_id: id(delivery.client_id),
            webhook_id: delivery.webhook_id.0,
            day: delivery.event_id.timestamp().day(),
            last_success_at: MaybeUnset::from_option(succeeded_at(attempt).map(time)),
            event_id: delivery.event_id.0,
            attempt: attempt.number.into(),
            phone: delivery.phone.as_str(),
            message_id: delivery.message_id.as_str(),
            kind: delivery.kind.as_str(),
            body: &delivery.body,
            tries: delivery.attempts_this_round.into(),
            outcome: attempt.outcome.as_str(),
            status: attempt.status.as_str(),
            http_status: MaybeUnset::from_option(attempt.http_status.map(i32::from)),
            response: MaybeUnset::from_option(attempt.response.as_deref()),
            error: MaybeUnset::from_option(attempt.error.as_deref()),
            created_at: time(delivery.created_at),
            started_at: time(attempt.started_at),
            latency_ms: attempt.latency_ms.into(),
            next_retry_at: MaybeUnset::from_option(attempt.next_retry_at.map(time)),
            timestamp: written_at(attempt.ended_at()),
        }
    }
}

/// A row that was read.
#[derive(DeserializeRow)]
pub(super) struct Row {
    client_id: i64,
    webhook_id: Uuid,
    pub(super) event_id: Uuid,
    pub(super) attempt: i32,
    phone: String,
    message_id: String,
    kind: String,
    pub(super) body: Vec<u8>,
    tries: i32,
    outcome: String,
    status: String,
    http_status: Option<i32>,
    response: Option<String>,
    error: Option<String>,
    created_at: CqlTimestamp,
    started_at: CqlTimestamp,
    latency_ms: i64,
    next_retry_at: Option<CqlTimestamp>,
}

impl Row {
    /// Whether this row counts in place of `newer`, the row before it, whose start is later. A
    /// crash can cause an attempt to be made twice under one number. Of the two, the one that was
    /// delivered counts.
    pub(super) fn counts_before(&self, newer: &Self) -> bool {
        let is_same_attempt = (self.event_id, self.attempt) == (newer.event_id, newer.attempt);
        let delivered = EventStatus::Delivered.as_str();
        is_same_attempt && self.status == delivered && newer.status != delivered
    }
}

/// From the text that serde and `as_str` write.
fn kind(name: String) -> Result<Kind, Error> {
    Kind::deserialize(IntoDeserializer::<value::Error>::into_deserializer(name)).map_err(damaged)
}

pub(super) fn damaged(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    let text = "the store has a row that this version cannot read";
    Error::new(ErrorKind::Failed, text).because(source)
}

impl TryFrom<Row> for Attempt {
    type Error = Error;
    fn try_from(row: Row) -> Result<Self, Error> {
        let number = u16::try_from(row.attempt).map_err(damaged)?;
        let client = u64::try_from(row.client_id).map_err(damaged)?;
        Ok(Self {
            delivery: Delivery {
                event_id: EventId(row.event_id),
                webhook_id: WebhookId(row.webhook_id),
                client_id: ClientId::try_from(client).map_err(damaged)?,
                phone: row.phone.parse().map_err(damaged)?,
                message_id: row.message_id.parse().map_err(damaged)?,
                kind: kind(row.kind)?,
                created_at: from_time(row.created_at),
                body: row.body.into(),
                attempt_count: number.saturating_sub(1),
                attempts_this_round: u16::try_from(row.tries).map_err(damaged)?,
                // Not stored: a replay sets its own priority and keeps no chat order.
                priority: Priority::Normal,
                chat_key: None,
            },
            number,
            outcome: Outcome::ALL
                .into_iter()
                .find(|outcome| outcome.as_str() == row.outcome)
                .ok_or_else(|| damaged(format!("outcome {:?}", row.outcome)))?,
            status: row.status.parse().map_err(damaged)?,
            http_status: row
                .http_status
                .map(u16::try_from)
                .transpose()
                .map_err(damaged)?,
            response: row.response,
            error: row.error,
            started_at: from_time(row.started_at),
            latency_ms: u32::try_from(row.latency_ms).map_err(damaged)?,
            next_retry_at: row.next_retry_at.map(from_time),
        })
    }
}
