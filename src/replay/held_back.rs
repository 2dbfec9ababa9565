//! Releases what was held back for want of room for its retries, once its client has room again.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{Bus, Error},
    model::{ClientId, Phone},
};

/// How often held messages are looked at whose webhook takes deliveries.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Runs until cancelled.
pub(super) async fn keep_releasing(bus: Bus, cancel: CancellationToken) {
    let mut ticks = interval(SWEEP_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while cancel.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = sweep(&bus).await {
            tracing::debug!(%error, "messages that were held back are looked at again");
        }
    }
}

async fn sweep(bus: &Bus) -> Result<(), Error> {
    for (client, phone) in bus.held_numbers().await? {
        release(bus, client, &phone).await?;
    }
    Ok(())
}

/// Asks for a release, unless one is under way, or the webhook is paused, which its owner ends.
async fn release(bus: &Bus, client: ClientId, phone: &Phone) -> Result<(), Error> {
    let webhook = bus.webhooks().cached_by_phone(client, phone);
    let Some(webhook) = webhook.filter(|webhook| webhook.takes_deliveries()) else {
        return Ok(());
    };
    let now = bus.now();
    if bus.jobs().is_releasing(&webhook, now).await? || !bus.has_room_again(client).await? {
        return Ok(());
    }
    bus.jobs().request_release(&webhook, now).await
}
