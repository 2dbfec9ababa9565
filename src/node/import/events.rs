//! Imports events into the audit. Each becomes one attempt, because the old table has only the
//! newest.

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, de::IntoDeserializer};

use super::{Mode, Row, Rows, Tally};
use crate::{
    bus::Bus,
    config::Config,
    model::{
        Attempt, ClientId, Delivery, EventId, EventStatus, Kind, Outcome, Phone, Priority,
        Timestamp, WebhookId,
    },
    store::{self, Store},
};

/// Most attempts in one write.
const BATCH_MAX: usize = 500;
/// Most concurrent look-ups in the store.
const LOOK_UPS_MAX: usize = 32;

/// A row needs the columns of the old table, and `client_id` and `phone_number` of its webhook.
pub(super) async fn import(
    config: &Config,
    bus: &Bus,
    store: &dyn Store,
    rows: Rows,
    mode: Mode,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    let now = bus.now();
    let kept_ms = i64::try_from(config.store.retention.as_millis()).unwrap_or(i64::MAX);
    let oldest = Timestamp::from_millis(now.millis().saturating_sub(kept_ms));
    let mut batch = Vec::new();
    for (line, row) in rows {
        let owner = row.and_then(|row| Ok((owner(&row)?, row)));
        let ((client, phone), row) = match owner {
            Ok(found) => found,
            Err(reason) => {
                tally.wrong(line, &reason);
                continue;
            }
        };
        let Some(webhook) = bus
            .webhooks()
            .by_phone(client, &phone)
            .await
            .context("asking for the webhook")?
        else {
            tally.wrong(
                line,
                "phone_number has no webhook of this client: import the webhooks first",
            );
            continue;
        };
        match attempt(&row, client, phone, webhook.id) {
            Ok(attempt) if attempt.started_at < oldest => tally.skipped += 1,
            Ok(attempt) => batch.push(attempt),
            Err(reason) => tally.wrong(line, &reason),
        }
        if batch.len() >= BATCH_MAX {
            write(store, std::mem::take(&mut batch), mode, &mut tally).await?;
        }
    }
    write(store, batch, mode, &mut tally).await?;
    Ok(tally)
}

/// Writes the attempts that are not in the store yet. Writing one again would change nothing but
/// the sums, which would count it twice.
async fn write(
    store: &dyn Store,
    batch: Vec<Attempt>,
    mode: Mode,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let looked_up = stream::iter(batch).map(async |attempt| {
        let Delivery {
            client_id,
            webhook_id,
            event_id,
            ..
        } = attempt.delivery;
        let there = store.event(client_id, webhook_id, event_id).await?;
        Ok::<_, store::Error>(there.is_none().then_some(attempt))
    });
    let looked_up: Vec<_> = looked_up
        .buffered(LOOK_UPS_MAX)
        .try_collect()
        .await
        .context("asking the store")?;
    let count = looked_up.len();
    let new: Vec<_> = looked_up.into_iter().flatten().collect();
    tally.imported += new.len();
    tally.skipped += count - new.len();
    if mode == Mode::Import && !new.is_empty() {
        store.record(new).await.context("writing the store")?;
        // If the import is ended early, the sums then match what was written.
        store.flush().await.context("writing sums")?;
    }
    Ok(())
}

fn owner(row: &Row) -> Result<(ClientId, Phone), String> {
    let phone = row.need("phone_number")?.trim_start_matches('+');
    Ok((
        row.needed("client_id")?,
        phone
            .parse()
            .map_err(|error| format!("phone_number: {error}"))?,
    ))
}

fn attempt(
    row: &Row,
    client_id: ClientId,
    phone: Phone,
    webhook_id: WebhookId,
) -> Result<Attempt, String> {
    let created_at = row.time("created_at")?.ok_or("created_at is missing")?;
    let message_id: crate::model::MessageId = row.needed("message_id")?;
    let kind = kind(row.text("message_type").unwrap_or("unknown"));
    let http_status = row.parsed::<u16>("http_status")?;
    let delivered_at = row.time("delivered_at")?;
    let (status, note) = status(row.need("status")?, http_status)?;
    let number = row.parsed::<u16>("attempt_count")?.unwrap_or(1).max(1);
    let error = row
        .text("error")
        .map(str::to_owned)
        .or_else(|| note.map(str::to_owned));
    Ok(Attempt {
        delivery: Delivery {
            // Made of the old id, so that two events of one message differ, and a second import
            // of a row gives the same id.
            event_id: EventId::derive(
                created_at,
                webhook_id,
                "import",
                row.need("id")?,
                &message_id,
                &kind,
            ),
            webhook_id,
            client_id,
            phone,
            message_id,
            kind,
            created_at,
            body: row.text("payload").unwrap_or("{}").to_owned().into(),
            attempt_count: number - 1,
            attempts_this_round: number - 1,
            priority: Priority::Normal,
            chat_key: None,
        },
        number,
        outcome: outcome(status, http_status),
        status,
        http_status,
        response: row.text("response").map(str::to_owned),
        error: error.filter(|_| status != EventStatus::Delivered),
        started_at: delivered_at.unwrap_or(created_at),
        latency_ms: 0,
        next_retry_at: None,
    })
}

fn outcome(status: EventStatus, http_status: Option<u16>) -> Outcome {
    match (status, http_status) {
        (EventStatus::Delivered, _) => Outcome::Ok,
        (_, Some(300..=399)) => Outcome::Http3xx,
        (_, Some(410)) => Outcome::Gone,
        (_, Some(429)) => Outcome::RateLimited,
        (_, Some(400..=499)) => Outcome::Http4xx,
        (_, Some(500..=599)) => Outcome::Http5xx,
        _ => Outcome::Connect,
    }
}

fn kind(name: &str) -> Kind {
    let name: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
        name.into_deserializer();
    Kind::deserialize(name).unwrap_or(Kind::Unknown)
}

/// The status, and a note for the column `error`. What was waiting in the old service was never
/// delivered, and nothing here would deliver it. It counts as failed and can be retried by hand.
fn status(
    text: &str,
    http_status: Option<u16>,
) -> Result<(EventStatus, Option<&'static str>), String> {
    match text.to_ascii_lowercase().as_str() {
        "delivered" | "success" => Ok((EventStatus::Delivered, None)),
        "sent" if http_status.is_some_and(|status| (200..300).contains(&status)) => {
            Ok((EventStatus::Delivered, None))
        }
        "sent" => Ok((
            EventStatus::Failed,
            Some("sent before the import, but the answer is not known"),
        )),
        "failed" | "error" | "dead" => Ok((EventStatus::Failed, None)),
        "pending" | "retrying" | "queued" | "processing" => Ok((
            EventStatus::Failed,
            Some("not delivered before the import; retry it by hand"),
        )),
        _ => Err("status is none of pending, sent, delivered, failed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn read(more: &[(&str, &str)]) -> Result<Attempt, String> {
        let cells = [
            ("id", "12"),
            ("client_id", "7"),
            ("phone_number", "4915112345678"),
            ("message_id", "3EB0"),
            ("message_type", "text"),
            ("payload", "{\"content\":\"hi\"}"),
            ("status", "delivered"),
            ("created_at", "2026-01-02 03:04:05.5+00"),
        ];
        let cells: Vec<_> = cells.into_iter().chain(more.iter().copied()).collect();
        let row = Row::of(&cells);
        let (client, phone) = owner(&row)?;
        attempt(&row, client, phone, WebhookId(Uuid::from_u128(1)))
    }

    #[test]
    fn a_row_of_the_old_table_becomes_an_attempt() {
        let one = read(&[
            ("http_status", "200"),
            ("attempt_count", "3"),
            ("delivered_at", "2026-01-02 03:05:00+00"),
        ]);
        let one = one.expect("valid");
        assert_eq!(
            (one.number, one.status, one.outcome),
            (3, EventStatus::Delivered, Outcome::Ok)
        );
        assert_eq!(
            (one.delivery.kind.clone(), &one.delivery.body[..]),
            (Kind::Text, &b"{\"content\":\"hi\"}"[..])
        );
        assert_eq!(one.started_at.to_string(), "2026-01-02T03:05:00Z");
        assert_eq!(one.delivery.event_id.timestamp(), one.delivery.created_at);
        assert_eq!(
            read(&[]).expect("valid").delivery.event_id,
            one.delivery.event_id,
            "again the same"
        );
        assert_ne!(
            read(&[("id", "13")]).expect("valid").delivery.event_id,
            one.delivery.event_id
        );
    }

    #[test]
    fn what_waited_is_given_up_and_says_so() {
        let one = read(&[("status", "RETRYING"), ("http_status", "503")]).expect("valid");
        assert_eq!(
            (one.status, one.outcome),
            (EventStatus::Failed, Outcome::Http5xx)
        );
        assert!(one.error.expect("a note").contains("retry it by hand"));
        assert_eq!(
            read(&[("status", "sent"), ("http_status", "204")])
                .expect("valid")
                .status,
            EventStatus::Delivered
        );
        assert_eq!(
            read(&[("status", "sent")]).expect("valid").status,
            EventStatus::Failed
        );
    }

    #[test]
    fn what_is_wrong_is_named_without_its_value() {
        for field in [
            "client_id",
            "phone_number",
            "message_id",
            "status",
            "created_at",
            "http_status",
            "attempt_count",
        ] {
            let value = if field == "message_id" {
                "two words SECRET"
            } else {
                "SECRET"
            };
            let error = read(&[(field, value)]).expect_err(field);
            assert!(
                error.starts_with(field) && !error.contains("SECRET"),
                "{error}"
            );
        }
    }
}
