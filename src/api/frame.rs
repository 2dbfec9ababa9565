//! What surrounds every request: its id, its deadline, its measure, and a guard against panics.

use std::{panic::AssertUnwindSafe, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State as Extract},
    http::HeaderValue,
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    State,
    problem::{Code, Problem},
};
use crate::telemetry;

const HEADER: &str = "x-request-id";
const ID_CHARS_MAX: usize = 64;

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The id of the request that this task serves.
pub(super) fn request_id() -> String {
    REQUEST_ID.try_with(Clone::clone).unwrap_or_default()
}

/// The caller's own id if it is a short plain word; else a new one.
fn id_of(request: &Request) -> String {
    let given = request.headers().get(HEADER).and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=ID_CHARS_MAX).contains(&id.len())
            && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    given.filter(plain).map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// The outermost layer.
pub(super) async fn frame(Extract(state): Extract<State>, request: Request, next: Next) -> Response {
    let (id, started) = (id_of(&request), Instant::now());
    let method = request.method().clone();
    let route =
        request.extensions().get::<MatchedPath>().map_or("unmatched".to_owned(), |path| path.as_str().to_owned());
    let guarded = AssertUnwindSafe(next.run(request)).catch_unwind();
    let header = HeaderValue::from_str(&id).expect("an id is a plain word");
    let mut response = REQUEST_ID
        .scope(id, async {
            match timeout(state.settings.request_timeout, guarded).await {
                Ok(Ok(response)) => response,
                Ok(Err(_panic)) => {
                    telemetry::error("api", "panic");
                    tracing::error!(route, request_id = request_id(), "a handler panicked");
                    Problem::new(Code::Internal, "the fault is logged under the request id").into_response()
                }
                Err(_) => Problem::new(Code::Timeout, "nothing is known of what was done; ask before repeating")
                    .into_response(),
            }
        })
        .await;
    response.headers_mut().insert(HEADER, header);
    telemetry::http_request(method.as_str(), &route, response.status().as_u16(), started.elapsed());
    response
}
