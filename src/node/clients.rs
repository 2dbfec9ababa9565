//! `wahook clients`: what clients store and may store, and limits of single ones.

use std::{
    collections::{BTreeMap, HashSet},
    process::ExitCode,
};

use anyhow::bail;
use serde::Serialize;

use super::{
    cli::{ClientsCommand, LimitChange},
    connect::connect,
};
use crate::{
    bus::Bus,
    config::{self, Config, show_size},
    model::{ClientId, Limit, OwnLimits, Quota, Usage},
};

/// A limit of a client, and what is used of it.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    /// `None`: it is a rate, of which nothing is stored.
    used: Option<u64>,
    max: u64,
    /// Whether it was set for this client; else it is the setting.
    is_own: bool,
    is_over: bool,
    #[serde(skip)]
    is_in_bytes: bool,
}

/// What a client has.
#[derive(Default)]
struct Used {
    stored: Usage,
    webhooks: u64,
}

#[derive(Serialize)]
struct ClientRow {
    client: ClientId,
    is_over: bool,
    limits: Vec<Row>,
}

pub(super) async fn run(config: &Config, command: ClientsCommand) -> anyhow::Result<ExitCode> {
    let bus = connect(config, "wahook-clients").await?;
    let settings = &config.bus.quota;
    match command {
        ClientsCommand::List { json } => {
            let rows = rows(&bus, settings).await?;
            if json {
                println!("{}", serde_json::to_string_pretty(&rows)?);
            } else {
                print_table(&rows);
            }
        }
        ClientsCommand::Show { client, json } => {
            let own = bus.client_limits().get(client).await?;
            let row = row(client, &used(&bus, client).await?, &own, settings);
            if json {
                println!("{}", serde_json::to_string_pretty(&row)?);
            } else {
                show(&row);
            }
        }
        ClientsCommand::Set { client, limits } => {
            let names: HashSet<Limit> = limits.iter().map(|change| change.limit).collect();
            if names.len() < limits.len() {
                bail!("a limit is given twice: write each of them once");
            }
            let apply = |own: &mut OwnLimits| {
                for LimitChange { limit, value } in &limits {
                    own.set(*limit, *value);
                }
            };
            let own = bus.client_limits().change(client, apply).await?;
            show(&row(client, &used(&bus, client).await?, &own, settings));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn row(client: ClientId, usage: &Used, own: &OwnLimits, settings: &config::Quota) -> ClientRow {
    let limits = Limit::ALL.map(|limit| {
        let max = own.get(limit).unwrap_or_else(|| settings.limit(limit));
        let used = match limit {
            Limit::WaitingBytes => Some(usage.stored.of(Quota::Waiting)),
            Limit::DeadLetterBytes => Some(usage.stored.of(Quota::DeadLetters)),
            Limit::MessagesPerSecond => None,
            Limit::Webhooks => Some(usage.webhooks),
        };
        Row {
            name: limit.as_str(),
            used,
            max,
            is_own: own.get(limit).is_some(),
            is_over: used.is_some_and(|used| used >= max),
            is_in_bytes: limit.is_in_bytes(),
        }
    });
    ClientRow {
        client,
        is_over: limits.iter().any(|row| row.is_over),
        limits: limits.into(),
    }
}

async fn used(bus: &Bus, client: ClientId) -> anyhow::Result<Used> {
    let webhooks = bus.webhooks().count_all().await?;
    Ok(Used {
        stored: bus.usage(client).await?,
        webhooks: webhooks.get(&client).copied().unwrap_or_default(),
    })
}

/// All clients that have webhooks, have stored something, or have a limit of their own.
async fn rows(bus: &Bus, settings: &config::Quota) -> anyhow::Result<Vec<ClientRow>> {
    let own = bus.client_limits().list().await?;
    let mut usage: BTreeMap<ClientId, Used> = BTreeMap::new();
    for (client, stored) in bus.usage_of_all().await? {
        usage.entry(client).or_default().stored = stored;
    }
    for (client, webhooks) in bus.webhooks().count_all().await? {
        usage.entry(client).or_default().webhooks = webhooks;
    }
    for client in own.keys() {
        usage.entry(*client).or_default();
    }
    let none = OwnLimits::default();
    let row = |(client, used): (&ClientId, &Used)| {
        row(*client, used, own.get(client).unwrap_or(&none), settings)
    };
    Ok(usage.iter().map(row).collect())
}

fn print_table(rows: &[ClientRow]) {
    print!("{:>16}", "client");
    for limit in Limit::ALL {
        print!("  {:>26}", limit.as_str());
    }
    println!();
    for row in rows {
        print!("{:>16}", row.client.to_string());
        for limit in &row.limits {
            print!("  {:>26}", cell(limit));
        }
        println!("{}", if row.is_over { "  OVER" } else { "" });
    }
    println!(
        "{} clients, {} over a quota; * was set for this client",
        rows.len(),
        rows.iter().filter(|row| row.is_over).count()
    );
}

/// Like `12.3 MiB of 256MiB*`.
fn cell(row: &Row) -> String {
    let mark = if row.is_own { "*" } else { "" };
    match row.used {
        Some(used) if row.is_in_bytes => {
            format!("{} of {}{mark}", rounded(used), show_size(row.max))
        }
        Some(used) => format!("{used} of {}{mark}", row.max),
        None => format!("{}{mark}", row.max),
    }
}

fn show(row: &ClientRow) {
    for limit in &row.limits {
        let source = if limit.is_own {
            "set for this client".to_owned()
        } else {
            format!("as quota.{}", limit.name)
        };
        let over = if limit.is_over { ", OVER" } else { "" };
        println!(
            "{:<24} {} ({source}){over}",
            limit.name,
            cell(limit).replace('*', "")
        );
    }
}

/// Bytes with one decimal in a unit that keeps the number short.
fn rounded(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_shown_short() {
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            (5 << 20, "5.0 MiB"),
            (u64::MAX, "16777216.0 TiB"),
        ] {
            assert_eq!(rounded(bytes), shown);
        }
    }

    #[test]
    fn a_client_is_over_as_soon_as_it_has_what_it_may() {
        let settings = Config::default().bus.quota;
        let client = 7.try_into().expect("in range");
        let mut own = OwnLimits::default();
        own.set(Limit::WaitingBytes, Some(70_000));
        let with = |waiting_bytes| {
            let mut used = Used::default();
            used.stored.set(Quota::Waiting, waiting_bytes);
            row(client, &used, &own, &settings)
        };
        assert!(!with(69_999).is_over);
        let over = with(70_000);
        assert!(over.is_over && over.limits[0].is_own && !over.limits[1].is_own);
        assert_eq!(cell(&over.limits[0]), "68.4 KiB of 70000B*");
    }
}
