//! `wahook import`: webhooks and events from the tables of an earlier service, as CSV or JSON.
//! docs/store.md says how to export them from PostgreSQL.
//!
//! A wrong row is skipped, and its line and the reason are printed. All other rows are imported.
//! Importing a file again changes nothing that was imported before. So correct a wrong row in the
//! file and import the file again.

mod events;
mod rows;
mod webhooks;

use std::{path::Path, process::ExitCode};

use anyhow::Context;

use self::rows::{Row, Rows};
use super::{cli::ImportCommand, keys};
use crate::{bus::Bus, config::Config, store, tasks::Tasks};

/// Most wrong rows that are printed; further ones are only counted.
const PRINTED_ROWS_MAX: usize = 50;

/// The results of an import, in rows.
#[derive(Default)]
struct Tally {
    imported: usize,
    /// Already present, or older than the retention.
    skipped: usize,
    wrong: usize,
}

/// What becomes of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Import,
    /// They are only checked.
    DryRun,
}

impl Tally {
    /// Prints the reason, never values: they are personal data.
    fn wrong(&mut self, line: u64, reason: &str) {
        self.wrong += 1;
        match self.wrong {
            1..=PRINTED_ROWS_MAX => eprintln!("row {line}: {reason}"),
            number if number == PRINTED_ROWS_MAX + 1 => {
                eprintln!("… more rows are wrong; they are only counted")
            }
            _ => {}
        }
    }

    fn end(&self, what: &str, mode: Mode) -> ExitCode {
        let did = match mode {
            Mode::DryRun => "would be imported",
            Mode::Import => "imported",
        };
        // Secrets go to the output, which is often a file.
        eprintln!(
            "{} {what} {did}, {} skipped, {} wrong",
            self.imported, self.skipped, self.wrong
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
            let mode = if dry_run { Mode::DryRun } else { Mode::Import };
            let tally = webhooks::import(config, bus, open(&file)?, mode).await?;
            Ok(tally.end("webhooks", mode))
        }
        ImportCommand::Events { file, dry_run } => {
            let store = store::open(&config.store, &config.cql, &tasks)
                .await
                .context("opening the store")?;
            let mode = if dry_run { Mode::DryRun } else { Mode::Import };
            let tally = events::import(config, bus, &*store, open(&file)?, mode).await?;
            Ok(tally.end("events", mode))
        }
    }
}

fn open(file: &Path) -> anyhow::Result<Rows> {
    Rows::open(file).with_context(|| format!("reading {}", file.display()))
}
