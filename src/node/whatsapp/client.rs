//! With the WhatsApp client.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::{
    bus::Bus,
    config::Config,
    egress,
    ingest::{self, Fetch, Fetched, Ingest},
    tasks::Tasks,
};

/// How long the download of a file that a caller wants to send may take. The caller waits for it.
const SEND_FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const SEND_FETCH_BYTES_MAX: usize = 16 * 1024 * 1024;

pub(in crate::node) async fn start_ingest(
    bus: Bus,
    config: &Config,
    tasks: &Tasks,
    cancel: CancellationToken,
) -> anyhow::Result<()> {
    Ingest::start(
        bus,
        &config.whatsapp,
        fetch(config, tasks)?,
        Arc::new(ingest::sqlite),
        tasks,
        cancel,
    )
    .await
    .context("starting ingest")
}

/// How sessions get files to send: out through the one guarded way.
fn fetch(config: &Config, tasks: &Tasks) -> anyhow::Result<Fetch> {
    let egress = egress::Client::new(&config.egress, SEND_FETCH_TIMEOUT, tasks)
        .context("setting up egress")?;
    Ok(Arc::new(move |client, url| {
        let egress = egress.clone();
        Box::pin(async move {
            let file = egress.get(client, &url, SEND_FETCH_BYTES_MAX).await?;
            Ok(Fetched {
                bytes: file.bytes,
                content_type: file.content_type,
            })
        })
    }))
}
