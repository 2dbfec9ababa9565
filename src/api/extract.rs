//! The client and the ids of a request.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use super::{AppState, auth::Caller, problem::Problem};
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

/// `{phone_number}` or `{lid}` of the path, with the client that asks for it.
pub(super) struct ContactPath(pub(super) ClientId, pub(super) String);

impl FromRequestParts<AppState> for ContactPath {
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

/// `{media_id}` of the path, with the client that asks for it.
pub(super) struct MediaPath(pub(super) ClientId, pub(super) String);

impl FromRequestParts<AppState> for MediaPath {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let Caller(client) = Caller::from_request_parts(parts, app).await?;
        Ok(Self(client, id(parts, app).await?))
    }
}
