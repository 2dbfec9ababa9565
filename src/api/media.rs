//! Media of messages, decrypted.

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::Stream;

use super::{
    AppState,
    extract::MediaPath,
    problem::{Code, Problem},
};
use crate::{model::ClientId, telemetry};

/// After how long to ask again when too many files are under way.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// A file as it comes, or why it cannot be had.
pub type Download = Pin<Box<dyn Future<Output = Result<Pieces, MediaError>> + Send>>;

/// The pieces of a file; after an error none follow.
pub type Pieces = Pin<Box<dyn Stream<Item = io::Result<Bytes>> + Send>>;

/// Gets the file behind a media id of a client; given by the role that can reach WhatsApp.
pub type MediaSource = Arc<dyn Fn(ClientId, &str) -> Download + Send + Sync>;

/// Why there is no file.
#[derive(Debug)]
pub enum MediaError {
    /// The id was not made for this client.
    Unknown,
    /// Larger than may be fetched.
    TooLarge,
    /// Too many files are under way.
    Busy,
    /// WhatsApp does not have it, or did not answer.
    Gone(String),
}

/// `GET /api/media/{media_id}`: answered as soon as WhatsApp begins to; what follows has a deadline
/// of its own for each piece.
pub(super) async fn get(
    State(app): State<AppState>,
    MediaPath(client, id): MediaPath,
) -> Result<Response, Problem> {
    match (app.media)(client, &id).await {
        Ok(file) => {
            // Never shown by a browser as what its sender says it is.
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (header::CONTENT_DISPOSITION, "attachment"),
                (header::CACHE_CONTROL, "private, no-store"),
            ];
            Ok((headers, Body::from_stream(file)).into_response())
        }
        Err(MediaError::Unknown) => Err(Problem::not_found()),
        Err(MediaError::TooLarge) => Err(Problem::new(
            Code::TooLarge,
            "the file is too large to be fetched here",
        )),
        Err(MediaError::Busy) => Err(Problem::too_many(
            BUSY_WAIT,
            "too many files are fetched at once",
        )),
        Err(MediaError::Gone(error)) => {
            telemetry::error("api", "media");
            tracing::warn!(error, "media could not be fetched");
            Err(Problem::new(
                Code::MediaGone,
                "WhatsApp keeps media for some weeks; ask the sender to send it again",
            ))
        }
    }
}
