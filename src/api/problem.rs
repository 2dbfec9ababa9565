//! The one table of what can go wrong, as callers see it.

use std::{borrow::Cow, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::request_id::request_id;
use crate::{bus, replay, store, telemetry};

/// A kind of problem. Each has a section in `docs/api.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidRequest,
    InvalidJson,
    InvalidCursor,
    Unauthorized,
    MissingScope,
    NotFound,
    NoWebhook,
    MethodNotAllowed,
    Held,
    InLine,
    Unlinkable,
    SessionLimit,
    ReplayLimit,
    MediaGone,
    NotConnected,
    KeyReused,
    TooLarge,
    NotJson,
    TooManyRequests,
    Internal,
    Unavailable,
    Busy,
    Timeout,
}

impl Code {
    /// Status, code and title.
    fn row(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::InvalidRequest => (
                StatusCode::BAD_REQUEST,
                "invalid_request",
                "Some fields are not valid",
            ),
            Self::InvalidJson => (
                StatusCode::BAD_REQUEST,
                "invalid_json",
                "The body is not the JSON expected here",
            ),
            Self::InvalidCursor => (
                StatusCode::BAD_REQUEST,
                "invalid_cursor",
                "The cursor does not fit this list",
            ),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "A valid bearer token is needed",
            ),
            Self::MissingScope => (
                StatusCode::FORBIDDEN,
                "missing_scope",
                "The token may not do this",
            ),
            Self::NotFound => (
                StatusCode::NOT_FOUND,
                "not_found",
                "There is no such thing here",
            ),
            Self::NoWebhook => (
                StatusCode::NOT_FOUND,
                "no_webhook",
                "No webhook is registered for this number",
            ),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "The route has other methods",
            ),
            Self::Held => (
                StatusCode::CONFLICT,
                "held",
                "The webhook takes no deliveries now",
            ),
            Self::InLine => (
                StatusCode::CONFLICT,
                "in_line",
                "The event waits behind others of its chat",
            ),
            Self::Unlinkable => (
                StatusCode::CONFLICT,
                "no_code",
                "The session has no code to link it with now",
            ),
            Self::SessionLimit => (
                StatusCode::CONFLICT,
                "session_limit",
                "The client has too many sessions",
            ),
            Self::ReplayLimit => (
                StatusCode::CONFLICT,
                "replay_limit",
                "The client has too many replays",
            ),
            Self::MediaGone => (
                StatusCode::BAD_GATEWAY,
                "media_gone",
                "WhatsApp did not give the file",
            ),
            Self::NotConnected => (
                StatusCode::CONFLICT,
                "not_connected",
                "The session cannot send now",
            ),
            Self::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "key_reused",
                "The idempotency key is taken",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "The body is too large",
            ),
            Self::NotJson => (
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "The body must be application/json",
            ),
            Self::TooManyRequests => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "Too many requests",
            ),
            Self::Internal => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal",
                "Something went wrong on our side",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "A part of the system is down",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "Messages come in faster than they are delivered",
            ),
            Self::Timeout => (
                StatusCode::GATEWAY_TIMEOUT,
                "timeout",
                "The request took too long",
            ),
        }
    }
}

impl Code {
    /// What RFC 6750 wants said in `www-authenticate`.
    fn challenge(self) -> Option<&'static str> {
        match self {
            Self::Unauthorized => Some("Bearer realm=\"wahook\""),
            Self::MissingScope => Some("Bearer realm=\"wahook\", error=\"insufficient_scope\""),
            _ => None,
        }
    }
}

/// One field that is not valid.
#[derive(Debug, Clone, Serialize)]
pub(super) struct FieldError {
    /// JSON pointer into the body, or `?name` for a query parameter.
    pub(super) pointer: Cow<'static, str>,
    /// What is wrong and what would be right.
    pub(super) detail: String,
}

/// A problem on its way to the caller.
#[derive(Debug)]
pub(super) struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
}

impl Problem {
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// What an id of another client and an absent one answer alike.
    pub(super) fn not_found() -> Self {
        Self::new(
            Code::NotFound,
            "no webhook, session, event, replay or route of this name is visible with this token",
        )
    }

    pub(super) fn fields(errors: Vec<FieldError>) -> Self {
        Self {
            errors,
            ..Self::new(
                Code::InvalidRequest,
                "see errors: each names a field and what would be right",
            )
        }
    }

    pub(super) fn field(pointer: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::fields(vec![FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
        }])
    }

    pub(super) fn too_many(wait: Duration, detail: &'static str) -> Self {
        Self {
            retry_after: Some(wait),
            ..Self::new(Code::TooManyRequests, detail)
        }
    }
}

impl From<bus::Error> for Problem {
    fn from(error: bus::Error) -> Self {
        telemetry::error("api", "bus");
        tracing::error!(%error, "the bus failed a request");
        match error {
            bus::Error::Full => Self::new(Code::Busy, "the stream is full; try again later"),
            bus::Error::TooLarge => Self::new(
                Code::TooLarge,
                "the message is larger than the stream takes",
            ),
            _ => Self::new(
                Code::Unavailable,
                "the message bus does not answer; try again later",
            ),
        }
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        telemetry::error("api", "store");
        let error = telemetry::report(&error);
        tracing::error!(
            error,
            request_id = request_id(),
            "the store failed a request"
        );
        Self::new(
            Code::Unavailable,
            "the store does not answer; deliveries go on, try again later",
        )
    }
}

impl From<replay::Error> for Problem {
    fn from(error: replay::Error) -> Self {
        match error {
            replay::Error::Bus(error) => error.into(),
            replay::Error::Store(error) => error.into(),
            replay::Error::Slow => Self::new(
                Code::Unavailable,
                "the store does not answer in time; try again later",
            ),
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    instance: String,
    code: &'a str,
    request_id: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [FieldError],
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, code, title) = self.code.row();
        let request_id = request_id();
        let document = Document {
            r#type: format!("urn:wahook:problem:{code}"),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            instance: format!("/requests/{request_id}"),
            code,
            request_id,
            errors: &self.errors,
        };
        let mut response = (status, Json(document)).into_response();
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(challenge) = self.code.challenge() {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static(challenge),
            );
        }
        if let Some(wait) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = include_str!("../../docs/api.md");

    #[test]
    fn every_code_stands_in_the_document_with_its_status() {
        use Code::{
            Busy, Held, InLine, Internal, InvalidCursor, InvalidJson, InvalidRequest, KeyReused,
            MediaGone, MethodNotAllowed, MissingScope, NoWebhook, NotConnected, NotFound, NotJson,
            ReplayLimit, SessionLimit, Timeout, TooLarge, TooManyRequests, Unauthorized,
            Unavailable, Unlinkable,
        };
        let all = [
            InvalidRequest,
            InvalidJson,
            InvalidCursor,
            Unauthorized,
            MissingScope,
            NotFound,
            NoWebhook,
            MethodNotAllowed,
            Held,
            InLine,
            Unlinkable,
            SessionLimit,
            ReplayLimit,
            MediaGone,
            NotConnected,
            KeyReused,
            TooLarge,
            NotJson,
            TooManyRequests,
            Internal,
            Unavailable,
            Busy,
            Timeout,
        ];
        for code in all {
            let (status, name, _) = code.row();
            assert!(
                DOCUMENT.contains(&format!("| {} | `{name}` |", status.as_u16())),
                "{name}"
            );
        }
    }

    #[test]
    fn every_route_stands_in_the_document_with_its_scope() {
        for (method, path, scope) in crate::api::routes() {
            assert!(
                DOCUMENT.contains(&format!("| {method} `{path}` | `{scope}` |")),
                "{method} {path}"
            );
        }
    }
}
