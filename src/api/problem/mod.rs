//! What callers see when something goes wrong: problem documents (RFC 9457).
//!
//! [`Code`] is the one table of kinds. [`FieldErrors`] gathers all fields of a request that are not
//! valid, so that a caller hears of them at once.

mod code;
mod field;

use std::{borrow::Cow, time::Duration};

use axum::{
    Json,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;

pub(super) use self::{
    code::Code,
    field::{FieldError, FieldErrors},
};
use super::request_id::request_id;
use crate::{bus, replay, store, telemetry};

/// A problem on its way to the caller.
#[derive(Debug)]
pub(super) struct Problem {
    code: Code,
    detail: Cow<'static, str>,
    errors: Vec<FieldError>,
    retry_after: Option<Duration>,
}

impl Problem {
    /// A problem of this kind. `detail` names the remedy and no secret.
    pub(super) fn new(code: Code, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            retry_after: None,
        }
    }

    /// The answer to an id that is absent, or another client's.
    pub(super) fn not_found() -> Self {
        Self::new(
            Code::NotFound,
            "no webhook, session, event, replay or route of this name is visible with this token",
        )
    }

    /// All fields of a request that are not valid.
    fn fields(errors: Vec<FieldError>) -> Self {
        Self {
            errors,
            ..Self::new(
                Code::InvalidRequest,
                "see errors: each names a field and what would be right",
            )
        }
    }

    /// One field that is not valid. `pointer` as in [`FieldError`].
    pub(super) fn field(pointer: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self::fields(vec![FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
        }])
    }

    /// A value in a JSON body that is not of the type expected.
    pub(super) fn json_field(pointer: String, detail: String) -> Self {
        let mut errors = FieldErrors::default();
        errors.add(pointer, detail.clone());
        Self {
            code: Code::InvalidJson,
            detail: detail.into(),
            ..errors.into_problem()
        }
    }

    /// The fields that it names.
    #[cfg(test)]
    pub(super) fn pointers(&self) -> Vec<&str> {
        let pointers = self.errors.iter().map(|error| error.pointer.as_ref());
        pointers.collect()
    }

    /// A limit over time is used up, and `wait` says when there is room again.
    pub(super) fn too_many(wait: Duration, detail: &'static str) -> Self {
        Self {
            retry_after: Some(wait),
            ..Self::new(Code::TooManyRequests, detail)
        }
    }
}

impl Problem {
    /// A quota of the client is used up; `detail` names it and what to do.
    pub(super) fn quota(wait: Duration, detail: &'static str) -> Self {
        Self {
            retry_after: Some(wait),
            ..Self::new(Code::Quota, detail)
        }
    }
}

impl From<bus::Error> for Problem {
    fn from(error: bus::Error) -> Self {
        telemetry::error("api", "bus");
        tracing::error!(%error, "the bus failed a request");
        match error {
            bus::Error::Full => Self::new(Code::Busy, "the stream is full; try again later"),
            bus::Error::StorageExhausted => Self::new(
                Code::Busy,
                "the message bus has no storage left; its operator has to make room",
            ),
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
        tracing::error!(error, "the store failed a request");
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
            replay::Error::Quota => Self::quota(
                Duration::from_secs(30),
                "more bytes wait than quota.waiting_bytes_max",
            ),
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
