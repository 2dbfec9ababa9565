//! Connecting to the bus, for every command.

use anyhow::Context;

use super::dev;
use crate::{bus::Bus, config::Config};

/// `name` is the name of the connection that NATS shows to operators.
pub(super) async fn connect(config: &Config, name: &str) -> anyhow::Result<Bus> {
    let nats = dev::with_login(&config.nats, &config.node.data_dir)?;
    Bus::connect(&nats, &config.bus, name)
        .await
        .with_context(|| {
            format!(
                "connecting to NATS at {} (set nats.url, or start it with `wahook dev`; if it \
                 refuses the login, set nats.user and nats.password, or nats.credentials_file: \
                 `wahook dev` keeps its login in nats/cli.env of its node.data_dir)",
                config.nats.url
            )
        })
}
