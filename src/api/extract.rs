//! Bodies, queries and ids, each with a problem of its own when it is not valid.

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::{StatusCode, header, request::Parts},
};
use serde::de::DeserializeOwned;

use super::{
    AppState,
    auth::Caller,
    problem::{Code, Problem},
};
use crate::model::{ClientId, JobId, PublicEventId, SessionId, WebhookId};

impl FromRequestParts<AppState> for Caller {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        // Every route has the layer that puts it there; without it nobody is let in.
        parts
            .extensions
            .get()
            .copied()
            .ok_or_else(Problem::not_found)
    }
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<AppState> for Body<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &AppState) -> Result<Self, Problem> {
        let content_type = request
            .headers()
            .get(header::CONTENT_TYPE)
            .and_then(|value| value.to_str().ok());
        let essence = content_type
            .and_then(|text| text.split(';').next())
            .unwrap_or_default();
        if !essence.trim().eq_ignore_ascii_case("application/json") {
            return Err(Problem::new(
                Code::NotJson,
                "send `content-type: application/json`",
            ));
        }
        let bytes = Bytes::from_request(request, app)
            .await
            .map_err(|rejection| {
                if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                    let max = app.settings.body_bytes_max;
                    return Problem::new(Code::TooLarge, format!("a body has at most {max} bytes"));
                }
                Problem::new(Code::InvalidJson, "the body did not arrive whole")
            })?;
        serde_json::from_slice(&bytes)
            .map(Self)
            .map_err(|error| Problem::new(Code::InvalidJson, error.to_string()))
    }
}

/// Query parameters.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for Params<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(value)| Self(value))
            .map_err(|error| Problem::field("?", error.body_text()))
    }
}

async fn id<T: std::str::FromStr>(parts: &mut Parts, app: &AppState) -> Result<T, Problem> {
    let text = Path::<String>::from_request_parts(parts, app).await;
    // What cannot be an id cannot be there.
    text.ok()
        .and_then(|Path(text)| text.parse().ok())
        .ok_or_else(Problem::not_found)
}

/// `{webhook_id}` of the path, with the client that asks for it.
pub(super) struct WebhookPath(pub(super) ClientId, pub(super) WebhookId);

impl FromRequestParts<AppState> for WebhookPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let Caller(client) = Caller::from_request_parts(parts, app).await?;
        Ok(Self(client, id(parts, app).await?))
    }
}

/// `{event_id}` of the path, with the client that asks for it.
pub(super) struct EventPath(pub(super) ClientId, pub(super) PublicEventId);

impl FromRequestParts<AppState> for EventPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let Caller(client) = Caller::from_request_parts(parts, app).await?;
        Ok(Self(client, id(parts, app).await?))
    }
}

/// `{session_id}` of the path, with the client that asks for it.
pub(super) struct SessionPath(pub(super) ClientId, pub(super) SessionId);

impl FromRequestParts<AppState> for SessionPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let Caller(client) = Caller::from_request_parts(parts, app).await?;
        Ok(Self(client, id(parts, app).await?))
    }
}

/// `{replay_id}` of the path, with the client that asks for it.
pub(super) struct ReplayPath(pub(super) ClientId, pub(super) JobId);

impl FromRequestParts<AppState> for ReplayPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let Caller(client) = Caller::from_request_parts(parts, app).await?;
        Ok(Self(client, id(parts, app).await?))
    }
}
