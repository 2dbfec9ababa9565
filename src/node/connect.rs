//! Connecting to the bus, for every command.

use anyhow::Context;

use crate::{bus::Bus, config::Config};

/// `name` is the name of the connection that NATS shows to operators.
pub(super) async fn connect(config: &Config, name: &str) -> anyhow::Result<Bus> {
    Bus::connect(&config.nats, &config.bus, name)
        .await
        .with_context(|| {
            format!(
                "connecting to NATS at {} (set nats.url, or start it with `wahook dev`)",
                config.nats.url
            )
        })
}
