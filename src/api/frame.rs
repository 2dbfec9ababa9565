//! What surrounds every request: its id, its deadline, its measure, and a guard against panics.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State as Extract},
    http::HeaderValue,
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tokio::time::timeout;
use uuid::Uuid;

use super::problem::{Code, Problem};
use crate::{config, telemetry};

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
    let given = request
        .headers()
        .get(HEADER)
        .and_then(|value| value.to_str().ok());
    let plain = |id: &&str| {
        (1..=ID_CHARS_MAX).contains(&id.len())
            && id
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    given
        .filter(plain)
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// The outermost layer.
pub(super) async fn frame(
    Extract(settings): Extract<Arc<config::Api>>,
    request: Request,
    next: Next,
) -> Response {
    let id = id_of(&request);
    let started = Instant::now();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("unmatched".to_owned(), |path| path.as_str().to_owned());
    let guarded = AssertUnwindSafe(next.run(request)).catch_unwind();
    let header = HeaderValue::from_str(&id).expect("an id is a plain word");
    let mut response = REQUEST_ID
        .scope(id, async {
            match timeout(settings.request_timeout, guarded).await {
                Ok(Ok(response)) => response,
                Ok(Err(_panic)) => {
                    telemetry::error("api", "panic");
                    tracing::error!(route, request_id = request_id(), "a handler panicked");
                    Problem::new(Code::Internal, "the fault is logged under the request id")
                        .into_response()
                }
                Err(_) => Problem::new(
                    Code::Timeout,
                    "nothing is known of what was done; ask before repeating",
                )
                .into_response(),
            }
        })
        .await;
    response.headers_mut().insert(HEADER, header);
    telemetry::http_request(
        method.as_str(),
        &route,
        response.status().as_u16(),
        started.elapsed(),
    );
    response
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Router, middleware::from_fn_with_state, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
    };
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::api::serve;
    use crate::tasks::Tasks;

    /// The whole answer to a GET of this path, over a socket.
    async fn get_raw(path: &str) -> String {
        let settings = config::Config::default().api;
        let settings = config::Api {
            request_timeout: Duration::from_millis(200),
            ..settings
        };
        let router = Router::new()
            .route(
                "/panic",
                get(async || -> &'static str { panic!("canary-secret") }),
            )
            .route(
                "/slow",
                get(async || std::future::pending::<&'static str>().await),
            )
            .layer(from_fn_with_state(Arc::new(settings.clone()), frame));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let cancel = CancellationToken::new();
        let _stop = cancel.clone().drop_guard();
        tokio::spawn(serve(listener, router, settings, Tasks::default(), cancel));
        let mut stream = TcpStream::connect(address).await.expect("connects");
        let request = format!(
            "GET {path} HTTP/1.1\r\nhost: x\r\nx-request-id: mine-1\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.expect("writes");
        let mut answer = String::new();
        timeout(Duration::from_secs(10), stream.read_to_string(&mut answer))
            .await
            .expect("in time")
            .expect("text");
        answer
    }

    #[tokio::test]
    async fn a_panic_and_a_passed_deadline_are_problems_like_any_other() {
        for (path, status, code) in [
            ("/panic", "500 Internal Server Error", "internal"),
            ("/slow", "504 Gateway Timeout", "timeout"),
        ] {
            let answer = get_raw(path).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                "{answer}"
            );
            assert!(
                answer.contains("content-type: application/problem+json\r\n"),
                "{answer}"
            );
            assert!(
                answer.contains(&format!("\"code\":\"{code}\""))
                    && answer.contains("\"request_id\":\"mine-1\""),
                "{answer}"
            );
            assert!(
                answer.contains("x-request-id: mine-1\r\n") && !answer.contains("canary"),
                "{answer}"
            );
        }
    }
}
