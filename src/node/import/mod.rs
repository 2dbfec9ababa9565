//! `wahook import`: webhooks and events from the tables of a service that came before, as CSV or
//! JSON. docs/store.md tells how to get them out of PostgreSQL.
//!
//! A row that is wrong is named with its line and reason and passed over; the others go in.
//! Importing a file again changes nothing that is there already, so the way to mend a row is to
//! mend it and run the whole again.

mod events;
mod rows;
mod webhooks;

use std::{path::Path, process::ExitCode};

use anyhow::Context;

use self::rows::{Row, Rows};
use super::{cli::ImportCommand, keys};
use crate::{bus::Bus, config::Config, store, tasks::Tasks};

/// Wrong rows that are shown; the rest is counted.
const SHOWN: usize = 50;

/// What became of the rows.
#[derive(Default)]
struct Tally {
    imported: usize,
    /// There already, or too old to be kept.
    passed: usize,
    wrong: usize,
}

impl Tally {
    /// Never with values: they are people's data.
    fn wrong(&mut self, line: u64, reason: &str) {
        self.wrong += 1;
        match self.wrong {
            1..=SHOWN => eprintln!("row {line}: {reason}"),
            number if number == SHOWN + 1 => {
                eprintln!("… more rows are wrong; they are only counted")
            }
            _ => {}
        }
    }

    fn end(&self, what: &str, dry_run: bool) -> ExitCode {
        let did = if dry_run {
            "would be imported"
        } else {
            "imported"
        };
        println!(
            "{} {what} {did}, {} passed over, {} wrong",
            self.imported, self.passed, self.wrong
        );
        if self.wrong == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

pub(super) async fn run(
    config: &Config,
    bus: &Bus,
    command: ImportCommand,
) -> anyhow::Result<ExitCode> {
    let keys = keys::keyring(config, bus).await?;
    let tasks = Tasks::default();
    bus.load_webhooks(keys, &tasks)
        .await
        .context("loading the webhooks")?;
    match command {
        ImportCommand::Webhooks { file, dry_run } => {
            let tally = webhooks::import(config, bus, open(&file)?, dry_run).await?;
            Ok(tally.end("webhooks", dry_run))
        }
        ImportCommand::Events { file, dry_run } => {
            let store = store::open(&config.store, &config.cql, &tasks)
                .await
                .context("opening the store")?;
            let tally = events::import(config, bus, &*store, open(&file)?, dry_run).await?;
            Ok(tally.end("events", dry_run))
        }
    }
}

fn open(file: &Path) -> anyhow::Result<Rows> {
    Rows::open(file).with_context(|| format!("reading {}", file.display()))
}
