//! `wahook migrate`: the schema of the CQL store, by one runner at a time.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use tokio::time::{Instant, interval, sleep};

use crate::{
    bus::{Bus, LEASE_TTL, Lease},
    config::{Config, StoreKind},
    store::Migrator,
};

const LEASE: &str = "migrate";
/// How long another runner is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Prints what is done, or would be.
pub(super) async fn run(
    config: &Config,
    bus: &Bus,
    dry_run: bool,
    create_keyspace: Option<u8>,
) -> anyhow::Result<ExitCode> {
    if config.store.kind != StoreKind::Cql {
        bail!(
            "there is nothing to migrate: store.kind is not \"cql\", and SQLite's file is raised \
             when it is opened"
        );
    }
    if dry_run {
        let migrator = Migrator::connect(&config.cql, config.store.retention).await?;
        let steps = migrator.plan(create_keyspace).await?;
        for step in &steps {
            println!("would apply {step}");
        }
        println!("{}: {} steps to do", migrator.server(), steps.len());
        return Ok(if steps.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let lease = acquire(bus).await?;
    let applied = tokio::select! {
        applied = apply(config, create_keyspace) => applied,
        error = keep(&lease) => Err(error),
    };
    lease.release().await;
    applied.map(|()| ExitCode::SUCCESS)
}

async fn apply(config: &Config, create_keyspace: Option<u8>) -> anyhow::Result<()> {
    let migrator = Migrator::connect(&config.cql, config.store.retention).await?;
    // Only now: another runner may just have done it all.
    let steps = migrator.plan(create_keyspace).await?;
    for step in &steps {
        migrator
            .apply(step)
            .await
            .with_context(|| format!("applying {step}"))?;
        println!("applied {step}");
    }
    println!(
        "{}: {} steps done; the schema is up to date",
        migrator.server(),
        steps.len()
    );
    Ok(())
}

async fn acquire(bus: &Bus) -> anyhow::Result<Lease> {
    let end = Instant::now() + PATIENCE;
    let node = format!("migrate-{}", std::process::id());
    loop {
        if let Some(lease) = bus
            .acquire_lease(LEASE, &node)
            .await
            .context("asking to be the only one who migrates")?
        {
            return Ok(lease);
        }
        if Instant::now() > end {
            bail!(
                "another `wahook migrate` has been running for {} s; look at it first",
                PATIENCE.as_secs()
            );
        }
        sleep(ASK_EVERY).await;
    }
}

/// Renews until that fails.
async fn keep(lease: &Lease) -> anyhow::Error {
    let mut ticks = interval(LEASE_TTL / 4);
    loop {
        ticks.tick().await;
        if !lease.renew().await.unwrap_or_else(|_| lease.is_valid()) {
            return anyhow::anyhow!(
                "NATS no longer says that this is the only migration; run it again"
            );
        }
    }
}
