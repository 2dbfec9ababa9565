//! Files of messages, for the API.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio::time::Instant;

use crate::{
    api,
    bus::Bus,
    config::Config,
    ingest::{Media, MediaError, Reference},
    model::{ClientId, SendOutcome, SessionAct, SessionRequest},
    tasks::Tasks,
};

/// How long a caller waits until the phone has uploaded a file again; with a download that begins
/// at once it is below `api.request_timeout`.
const RENEW_TIMEOUT: Duration = Duration::from_secs(6);

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
    let source = Arc::new(MediaSource {
        bus: bus.clone(),
        media: Media::new(&config.whatsapp, tasks)?,
        secret,
    });
    Ok(Arc::new(move |client, id| {
        let source = Arc::clone(&source);
        let id = id.to_owned();
        Box::pin(async move { source.get(client, id).await })
    }))
}

struct MediaSource {
    bus: Bus,
    media: Media,
    secret: [u8; 32],
}

impl MediaSource {
    /// The file behind an id. One that WhatsApp has no more is asked of the phone.
    async fn get(&self, client: ClientId, id: String) -> Result<api::MediaFile, api::MediaError> {
        let deadline = Instant::now() + RENEW_TIMEOUT;
        let unseal = |id: &str| Reference::unseal(&self.secret, client, id);
        let mut reference = unseal(&id).ok_or(api::MediaError::Unknown)?;
        let mut id = id;
        loop {
            let expired = match self.media.download(&reference).await {
                Ok(pieces) => {
                    return Ok(api::MediaFile {
                        mime_type: reference.mime_type().to_owned(),
                        file_name: reference.file_name().map(str::to_owned),
                        pieces,
                    });
                }
                Err(MediaError::Busy) => return Err(api::MediaError::Busy),
                Err(MediaError::TooLarge) => return Err(api::MediaError::TooLarge),
                Err(error @ MediaError::Expired(_)) => api::MediaError::Gone(error.to_string()),
                Err(MediaError::Gone(error)) => {
                    return Err(api::MediaError::Gone(format!("{error:#}")));
                }
            };
            // What the phone uploaded before may be gone as well.
            let Some(renewed) = self.renew(client, &reference, id, deadline).await? else {
                return Err(expired);
            };
            reference = unseal(&renewed).ok_or(expired)?;
            id = renewed;
        }
    }

    /// The id of the file that the phone has uploaded again, if it did so in time.
    async fn renew(
        &self,
        client: ClientId,
        reference: &Reference,
        media_id: String,
        deadline: Instant,
    ) -> Result<Option<String>, api::MediaError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(session) = reference.session().filter(|_| !left.is_zero()) else {
            return Ok(None);
        };
        let act = SessionAct::RenewMedia { media_id };
        let wanted = SessionRequest::Act { act };
        let asking = self.bus.ask_session(client, session, &wanted, left);
        match asking.await {
            Ok(Some(SendOutcome::MediaRenewed { media_id })) => Ok(Some(media_id)),
            Ok(Some(SendOutcome::TooFast { .. })) => Err(api::MediaError::Busy),
            Ok(_) => Ok(None),
            Err(error) => Err(api::MediaError::Gone(format!(
                "asking the session: {error}"
            ))),
        }
    }
}
