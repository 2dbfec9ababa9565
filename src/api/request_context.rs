//! What surrounds every request: its id and span, its deadline, its measurement, and a guard
//! against panics.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::{Version, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures_util::FutureExt;
use tokio::time::timeout;
use tracing::{Instrument, field::Empty};

use super::{
    body::{BodyProgress, too_large},
    problem::{Code, Problem},
    request_id::{HEADER, header_value, id_of, with_request_id},
};
use crate::{config, telemetry};

/// The outermost layer.
pub(super) async fn request_context(
    State(settings): State<Arc<config::Api>>,
    request: Request,
    next: Next,
) -> Response {
    let id = id_of(&request);
    let started = Instant::now();
    let method = telemetry::http_method(request.method().as_str());
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("none".to_owned(), |path| path.as_str().to_owned());
    // At the level error, so that no filter takes it from an error's line. The client is filled
    // in once the token is known.
    let span = tracing::error_span!(
        "request",
        request.id = id,
        http.method = method,
        http.route = route,
        client.id = Empty,
    );
    let answering = answer(settings, request, next).instrument(span);
    let header = header_value(&id);
    let mut response = with_request_id(id, answering).await;
    response.headers_mut().insert(HEADER, header);
    let status = response.status().as_u16();
    telemetry::http_request(method, &route, status, started.elapsed());
    response
}

/// What is wrong with the head of a request, whatever its route.
fn check_head(settings: &config::Api, request: &Request) -> Result<(), Problem> {
    let headers = request.headers();
    // RFC 9112, section 3.2.
    let host_count = headers.get_all(header::HOST).iter().count();
    if request.version() == Version::HTTP_11 && host_count != 1 {
        return Err(Problem::field("header:host", "is needed, once"));
    }
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let bytes_max = settings.body_bytes_max;
    if length.is_some_and(|length| usize::try_from(length).is_ok_and(|bytes| bytes <= bytes_max)) {
        return Ok(());
    }
    // Without a length the body is counted as it comes.
    length.map_or(Ok(()), |_| Err(too_large(bytes_max)))
}

/// The handler's answer, or a problem when it panics or takes too long.
async fn answer(settings: Arc<config::Api>, mut request: Request, next: Next) -> Response {
    if let Err(problem) = check_head(&settings, &request) {
        return problem.into_response();
    }
    let progress = BodyProgress::default();
    request.extensions_mut().insert(progress.clone());
    let guarded = AssertUnwindSafe(next.run(request)).catch_unwind();
    match timeout(settings.request_timeout, guarded).await {
        Ok(Ok(response)) => response,
        Ok(Err(_panic)) => {
            telemetry::error("api", "panic");
            tracing::error!("a handler panicked");
            let detail = "the fault is logged under the request id";
            Problem::new(Code::Internal, detail).into_response()
        }
        Err(_) if progress.is_reading() => {
            let detail = "send the whole body within api.request_timeout; nothing was done";
            Problem::new(Code::BodyTimeout, detail).into_response()
        }
        Err(_) => {
            let detail = "nothing is known of what was done; ask before repeating";
            Problem::new(Code::Timeout, detail).into_response()
        }
    }
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
    use crate::{
        api::{Limits, serve},
        tasks::Tasks,
    };

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
            .layer(from_fn_with_state(
                Arc::new(settings.clone()),
                request_context,
            ));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let cancel = CancellationToken::new();
        let _stop = cancel.clone().drop_guard();
        let limits = Limits::api(&settings);
        tokio::spawn(serve(listener, router, limits, Tasks::default(), cancel));
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
