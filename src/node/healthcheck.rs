//! `wahook healthcheck`: asks a node of this machine how it is.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, anyhow};
use tokio::time::timeout;

use super::cli::Probe;
use crate::{api::ask_probe, config::Config, telemetry::printable};

/// An answer comes at once, or the node is not well.
const DEADLINE: Duration = Duration::from_secs(5);

/// Prints what the node says; 0 when it is well.
pub(super) async fn run(config: &Config, probe: Probe) -> anyhow::Result<ExitCode> {
    let listen = config.admin.listen;
    let path = match probe {
        Probe::Ready => "/readyz?verbose",
        Probe::Live => "/livez",
    };
    let (is_well, text) = timeout(DEADLINE, ask_probe(listen, path))
        .await
        .map_err(|_| anyhow!("no answer within {DEADLINE:?}"))
        .flatten()
        .with_context(|| format!("asking admin.listen, {listen}"))?;
    for line in text.lines() {
        println!("{}", printable(line));
    }
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
