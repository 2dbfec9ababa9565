//! `wahook migrate`: the schema of the CQL store, by one runner at a time.

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};

use crate::{
    bus::{Bus, Lease},
    config::{Config, StoreKind},
    store::Migrator,
};

const LEASE: &str = "migrate";
/// How long to wait for another `wahook migrate` to end.
const LEASE_WAIT_MAX: Duration = Duration::from_secs(120);
const LEASE_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Prints the missing steps. Fails when there are any.
pub(super) async fn dry_run(
    config: &Config,
    create_keyspace: Option<u8>,
) -> anyhow::Result<ExitCode> {
    refuse_sqlite(config)?;
    let migrator = Migrator::connect(&config.cql, config.store.retention).await?;
    let steps = migrator.plan(create_keyspace).await?;
    for step in &steps {
        println!("would apply {step}");
    }
    println!("{}: {} steps to do", migrator.server(), steps.len());
    Ok(if steps.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn refuse_sqlite(config: &Config) -> anyhow::Result<()> {
    if config.store.kind != StoreKind::Cql {
        bail!(
            "there is nothing to migrate: store.kind is not \"cql\", and the schema of a SQLite \
             file is updated when a role opens it"
        );
    }
    Ok(())
}

/// Applies the missing steps.
pub(super) async fn run(
    config: &Config,
    bus: &Bus,
    create_keyspace: Option<u8>,
) -> anyhow::Result<ExitCode> {
    refuse_sqlite(config)?;
    let lease = acquire(bus).await?;
    let applied = tokio::select! {
        applied = apply(config, create_keyspace) => applied,
        () = lease.keep() => Err(anyhow::anyhow!(
            "the lease for migrations was lost; run `wahook migrate` again"
        )),
    };
    lease.release().await;
    applied.map(|()| ExitCode::SUCCESS)
}

async fn apply(config: &Config, create_keyspace: Option<u8>) -> anyhow::Result<()> {
    let migrator = Migrator::connect(&config.cql, config.store.retention).await?;
    // Planned under the lease: another run may have applied the steps in the meantime.
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
    let end = Instant::now() + LEASE_WAIT_MAX;
    let node = format!("migrate-{}", std::process::id());
    loop {
        if let Some(lease) = bus
            .acquire_lease(LEASE, &node)
            .await
            .context("acquiring the lease for migrations")?
        {
            return Ok(lease);
        }
        if Instant::now() > end {
            bail!(
                "another `wahook migrate` has been running for {} s; wait for it, or find out \
                 why it hangs",
                LEASE_WAIT_MAX.as_secs()
            );
        }
        sleep(LEASE_POLL_INTERVAL).await;
    }
}
