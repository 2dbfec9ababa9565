//! Without the WhatsApp client.

use std::sync::Arc;

use anyhow::bail;
use tokio_util::sync::CancellationToken;

use crate::{api, bus::Bus, config::Config, tasks::Tasks};

const MISSING: &str = "this wahook was built without the feature `whatsapp`";

pub(in crate::node) async fn start_ingest(
    _: Bus,
    _: &Config,
    _: &Tasks,
    _: CancellationToken,
) -> anyhow::Result<()> {
    bail!("{MISSING}: it has no role ingest");
}

/// Every id is answered as if WhatsApp did not have the file.
pub(in crate::node) async fn media_source(
    _: &Bus,
    _: &Config,
    _: &Tasks,
) -> anyhow::Result<api::MediaSource> {
    Ok(Arc::new(|_, _| {
        Box::pin(async { Err(api::MediaError::Gone(MISSING.to_owned())) })
    }))
}
