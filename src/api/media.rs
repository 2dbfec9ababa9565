//! Media of messages, decrypted.

use std::{future::Future, pin::Pin, sync::Arc};

use axum::{
    extract::{Path, State as Extract},
    http::header,
    response::{IntoResponse, Response},
};

use super::{
    State,
    auth::Caller,
    problem::{Code, Problem},
};
use crate::{model::ClientId, telemetry};

/// Files that are under way at once in this process, each held in memory.
pub(super) const DOWNLOADS_MAX: usize = 8;

/// A file, or why it cannot be had.
pub type Download = Pin<Box<dyn Future<Output = Result<Vec<u8>, MediaError>> + Send>>;

/// Gets the file behind a media id of a client; given by whoever can reach WhatsApp.
pub type MediaSource = Arc<dyn Fn(ClientId, &str) -> Download + Send + Sync>;

/// Why there is no file.
#[derive(Debug)]
pub enum MediaError {
    /// The id was not made for this client.
    Unknown,
    /// Larger than may be fetched.
    TooLarge,
    /// WhatsApp does not have it, or did not answer.
    Gone(String),
}

/// `GET /api/media/{media_id}`.
pub(super) async fn get(
    Extract(state): Extract<State>,
    Caller(client): Caller,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let Ok(_permit) = state.downloads.acquire().await else { return Err(Problem::not_found()) };
    match (state.media)(client, &id).await {
        Ok(file) => {
            // Never shown by a browser as what its sender says it is.
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::CONTENT_DISPOSITION, "attachment"),
                (header::CACHE_CONTROL, "private, no-store"),
            ];
            Ok((headers, file).into_response())
        }
        Err(MediaError::Unknown) => Err(Problem::not_found()),
        Err(MediaError::TooLarge) => Err(Problem::new(Code::TooLarge, "the file is too large to be fetched here")),
        Err(MediaError::Gone(error)) => {
            telemetry::error("api", "media");
            tracing::warn!(error, "media could not be fetched");
            Err(Problem::new(Code::MediaGone, "WhatsApp keeps media for some weeks; ask the sender to send it again"))
        }
    }
}
