//! Media of messages, decrypted.

mod headers;

use std::{future::Future, io, pin::Pin, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures_util::Stream;

use self::headers::{content_type, disposition};
use super::{
    AppState,
    extract::MediaPath,
    problem::{Code, Problem},
};
use crate::{model::ClientId, telemetry};

/// After how long to ask again when too many files are under way.
const BUSY_WAIT: Duration = Duration::from_secs(5);

/// A file as it comes, or why it cannot be had.
pub type Download = Pin<Box<dyn Future<Output = Result<MediaFile, MediaError>> + Send>>;

/// A file, and what its sender said of it.
pub struct MediaFile {
    /// Its type; may be empty, or nonsense.
    pub mime_type: String,
    /// Its name, if it has one.
    pub file_name: Option<String>,
    /// The file itself.
    pub pieces: Pieces,
}

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
            // A browser saves it, whatever its sender says it is, and runs nothing in it.
            let fixed = [
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                (
                    header::CONTENT_SECURITY_POLICY,
                    "default-src 'none'; sandbox",
                ),
                (header::CACHE_CONTROL, "private, no-store"),
            ];
            let own = [
                (header::CONTENT_TYPE, content_type(&file.mime_type)),
                (
                    header::CONTENT_DISPOSITION,
                    disposition(file.file_name.as_deref()),
                ),
            ];
            Ok((fixed, own, Body::from_stream(file.pieces)).into_response())
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
