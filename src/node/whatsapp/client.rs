//! With the WhatsApp client.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use tokio_util::sync::CancellationToken;

use crate::{
    api,
    bus::Bus,
    config::Config,
    egress,
    ingest::{self, Fetch, Fetched, Ingest, Media, MediaError, Reference},
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

/// How the API gets media: unsealed with the key that all nodes share, fetched without any session.
pub(in crate::node) async fn media_source(
    bus: &Bus,
    config: &Config,
    tasks: &Tasks,
) -> anyhow::Result<api::MediaSource> {
    let secret = bus
        .shared_keys()
        .media_key()
        .await
        .context("reading the key of media ids")?;
    let media = Media::new(&config.whatsapp, tasks)?;
    Ok(Arc::new(move |client, id| {
        let reference = Reference::unseal(&secret, client, id);
        let media = media.clone();
        Box::pin(async move {
            let reference = reference.ok_or(api::MediaError::Unknown)?;
            let pieces = media
                .download(&reference)
                .await
                .map_err(|error| match error {
                    MediaError::Busy => api::MediaError::Busy,
                    MediaError::TooLarge => api::MediaError::TooLarge,
                    MediaError::Gone(error) => api::MediaError::Gone(format!("{error:#}")),
                })?;
            Ok(api::MediaFile {
                mime_type: reference.mime_type().to_owned(),
                file_name: reference.file_name().map(str::to_owned),
                pieces,
            })
        })
    }))
}
