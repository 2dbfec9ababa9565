//! Registers imported webhooks.

use std::time::SystemTime;

use anyhow::Context;
use uuid::Uuid;

use super::{Mode, Row, Rows, Tally};
use crate::{
    bus::Bus,
    config::Config,
    model::{ClientId, Phone, Timestamp, Webhook, WebhookId, webhook_limits::RETRIES_MAX},
    policy::address::check_url,
    wire::new_signing_secret,
};

/// Prints id, client, number and signing secret of each new webhook. The old service had no
/// signatures, so customers need the new secret.
pub(super) async fn import(
    config: &Config,
    bus: &Bus,
    rows: Rows,
    mode: Mode,
) -> anyhow::Result<Tally> {
    let mut tally = Tally::default();
    if mode == Mode::Import {
        println!("webhook_id\tclient_id\tphone_number\tsigning_secret");
    }
    for (line, row) in rows {
        let webhook = match row.and_then(|row| webhook(config, &row)) {
            Ok(webhook) => webhook,
            Err(reason) => {
                tally.wrong(line, &reason);
                continue;
            }
        };
        let client = webhook.client_id;
        let phone = webhook.phone.clone();
        if bus
            .webhooks()
            .by_phone(client, &phone)
            .await
            .context("asking for the webhook")?
            .is_some()
        {
            tally.skipped += 1;
            continue;
        }
        tally.imported += 1;
        if mode == Mode::Import {
            // If another caller registered the number in the meantime, that webhook stays.
            let make = |present: Option<&Webhook>| present.unwrap_or(&webhook).clone();
            let (stored, _) = bus
                .webhooks()
                .register(client, &phone, make)
                .await
                .context("registering the webhook")?;
            let secret = stored.secrets.first().map_or("", |secret| secret.expose());
            println!("{}\t{client}\t{}\t{secret}", stored.id, phone.as_str());
        }
    }
    Ok(tally)
}

fn webhook(config: &Config, row: &Row) -> Result<Webhook, String> {
    let client: ClientId = row.needed("client_id")?;
    let phone: Phone = row
        .need("phone_number")?
        .trim_start_matches('+')
        .parse()
        .map_err(|error| format!("phone_number: {error}"))?;
    let url = row.need("webhook_url")?;
    let url = check_url(url, config.egress.allow_http, &config.egress.allow_cidrs)
        .map_err(|error| format!("webhook_url: {error}"))?;
    let max_retries = row
        .parsed::<u16>("max_retries")?
        .unwrap_or(config.deliver.max_retries);
    if max_retries > RETRIES_MAX {
        return Err(format!("max_retries is from 0 to {RETRIES_MAX}"));
    }
    // A UUID is kept, so that links with it still work. Other ids become new ones.
    let id = row
        .text("id")
        .and_then(|id| Uuid::try_parse(id).ok())
        .unwrap_or_else(Uuid::now_v7);
    let now = Timestamp::from_system(SystemTime::now());
    let created_at = row.time("created_at")?.unwrap_or(now);
    let secret = new_signing_secret();
    let mut webhook = Webhook::new(WebhookId(id), client, phone, url.into(), created_at);
    webhook.is_active = row.truth("is_active")?.unwrap_or(true);
    webhook.max_retries = max_retries;
    webhook.rate_per_second = config.deliver.rate_per_second;
    webhook.in_flight = config.deliver.in_flight;
    webhook.secrets = vec![secret];
    webhook.metadata = row.object("metadata")?;
    webhook.updated_at = row.time("updated_at")?.unwrap_or(created_at);
    Ok(webhook)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_of_the_old_table_becomes_a_webhook() {
        let config = Config::default();
        let cells = [
            ("id", "3f0e6c0a-52a1-4b7e-9d0c-0e5b8a0c1d2e"),
            ("client_id", "7"),
            ("phone_number", "+4915112345678"),
            ("webhook_url", "https://example.com/hook"),
            ("is_active", "f"),
            ("max_retries", "5"),
            ("metadata", "{\"tier\": \"gold\"}"),
            ("created_at", "2026-01-02 03:04:05+00"),
        ];
        let webhook = webhook(&config, &Row::of(&cells)).expect("valid");
        assert_eq!(webhook.id.to_string(), cells[0].1);
        assert_eq!(
            (
                webhook.client_id.get(),
                webhook.is_active,
                webhook.max_retries
            ),
            (7, false, 5)
        );
        assert_eq!(
            (webhook.metadata["tier"].as_str(), webhook.secrets.len()),
            (Some("gold"), 1)
        );
        assert_eq!(webhook.created_at.to_string(), "2026-01-02T03:04:05Z");
    }

    #[test]
    fn what_is_wrong_is_named_without_its_value() {
        let config = Config::default();
        let good = [
            ("client_id", "7"),
            ("phone_number", "4915112345678"),
            ("webhook_url", "https://example.com/hook"),
        ];
        let table = [
            ("client_id", "SECRET"),
            ("phone_number", "SECRET"),
            ("webhook_url", "http://SECRET.example"),
            ("max_retries", "21"),
            ("is_active", "SECRET"),
            ("metadata", "SECRET"),
            ("created_at", "SECRET"),
        ];
        for (field, value) in table {
            let cells: Vec<_> = good.into_iter().chain([(field, value)]).collect();
            let error = webhook(&config, &Row::of(&cells)).expect_err(field);
            assert!(
                error.starts_with(field) && !error.contains("SECRET"),
                "{error}"
            );
        }
        assert_eq!(
            webhook(&config, &Row::of(&good[1..])).expect_err("missing"),
            "client_id is missing"
        );
    }
}
