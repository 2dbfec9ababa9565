//! `wahook secrets`: creates keys, and seals all secrets with the newest one.

use std::process::ExitCode;

use anyhow::Context;

use super::{
    cli::SecretsCommand,
    connect::connect,
    keys::{file, random_id, read},
};
use crate::{config::Config, wire::Keyring};

pub(super) async fn run(config: &Config, command: SecretsCommand) -> anyhow::Result<ExitCode> {
    match command {
        SecretsCommand::NewKey { id } => {
            println!(
                "{}",
                Keyring::new_line(&id.unwrap_or_else(random_id)).context("--id")?
            );
            Ok(ExitCode::SUCCESS)
        }
        SecretsCommand::Rotate => rotate(config).await,
    }
}

async fn rotate(config: &Config) -> anyhow::Result<ExitCode> {
    let file = file(config);
    let keys = read(&file)?
        .with_context(|| format!("{} does not exist: set secrets.keys_file", file.display()))?;
    let bus = connect(config, "wahook-secrets").await?;
    let done = bus.reseal(&keys).await?;
    for (what, why) in &done.closed {
        eprintln!("{what}: {why}");
    }
    println!(
        "{} webhooks: {} sealed again with key {} ({} of them were in clear), {} were sealed with \
         it already, {} could not be opened",
        done.webhooks,
        done.again,
        keys.newest(),
        done.plain,
        done.current,
        done.webhooks - done.again - done.current
    );
    println!(
        "{} sessions with keys in NATS: {} sealed again",
        done.sessions, done.sessions_again
    );
    if done.closed.is_empty() {
        println!("no other key is needed any longer");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "put the missing keys back into {}, behind the first one, and run this again",
        file.display()
    );
    Ok(ExitCode::FAILURE)
}
