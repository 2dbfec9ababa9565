//! One connection, and one request on it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Request, Response, Version,
    body::Incoming,
    client::conn::{http1, http2},
    header,
    http::{HeaderMap, Method},
    rt::Executor,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{sleep, timeout};

use super::{
    connect::Link,
    failure::{Failure, cause},
    target::Endpoint,
    tls,
    watch::{Protocol, Watch, Watched},
};
use crate::tasks::{TaskKind, Tasks};

/// How long the end of an exchange is waited for after the last byte of the answer. A connection
/// that is not free by then is closed.
const RECYCLE_TIMEOUT: Duration = Duration::from_millis(50);
/// Fields of an answer's head; sites with hundreds of cookies exist.
const FIELDS_MAX: usize = 1000;
/// How long others wait for the first word of a new HTTP/2 connection.
const SETTINGS_TIMEOUT: Duration = Duration::from_millis(250);
/// Requests at once on one HTTP/2 connection, however many more the endpoint allows.
const STREAMS_MAX: usize = 100;
/// Bytes of bodies that an HTTP/2 endpoint may send before they are read, per request and in all.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Of the fields of an HTTP/2 answer.
const FIELDS_BYTES_MAX: u32 = 256 * 1024;
/// An HTTP/2 connection with requests on it is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(10);
const PING_TIMEOUT: Duration = Duration::from_secs(5);

type Body = Full<Bytes>;

/// What is asked of an endpoint.
pub(super) struct Call {
    pub(super) endpoint: Arc<Endpoint>,
    pub(super) method: Method,
    pub(super) fields: HeaderMap,
    pub(super) body: Bytes,
}

/// An HTTP/1 connection that nobody else uses.
pub(super) struct Http1 {
    sender: http1::SendRequest<Body>,
    watch: Arc<Watch>,
}

impl Http1 {
    pub(super) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    pub(super) fn rest(&self) {
        self.watch.rest();
    }
}

/// An HTTP/2 connection, shared by requests.
pub(super) struct Http2 {
    sender: http2::SendRequest<Body>,
    watch: Arc<Watch>,
    streams: AtomicUsize,
    /// Whether it takes no further requests, since one failed on it.
    retired: AtomicBool,
}

impl Http2 {
    /// Whether one more request may go; closed ones never come back.
    pub(super) fn is_gone(&self) -> bool {
        self.sender.is_closed() || self.retired.load(Ordering::Relaxed)
    }

    /// Waits until it is known how many requests it takes, but not for long.
    pub(super) async fn settled(&self) {
        // Without an answer it takes one at a time.
        let _ = timeout(SETTINGS_TIMEOUT, self.watch.settled()).await;
    }

    pub(super) fn is_unused(&self) -> bool {
        self.streams.load(Ordering::Relaxed) == 0
    }

    /// A place for one request.
    pub(super) fn stream(self: &Arc<Self>) -> Option<Http2Stream> {
        // Before its settings are here, an endpoint might allow no more than one.
        let allowed = self.watch.streams_max().unwrap_or(1);
        let most = allowed.min(STREAMS_MAX);
        let more = |streams| (streams < most).then_some(streams + 1);
        self.streams
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .ok()?;
        Some(Http2Stream(Arc::clone(self)))
    }
}

/// One request's place on an HTTP/2 connection.
pub(super) struct Http2Stream(Arc<Http2>);

impl Drop for Http2Stream {
    fn drop(&mut self) {
        if self.0.streams.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.watch.rest();
        }
    }
}

/// See [`Connection::doubt`].
pub(super) struct Doubt {
    connection: Option<Arc<Http2>>,
    pub(super) is_over: bool,
}

impl Drop for Doubt {
    fn drop(&mut self) {
        if let (Some(connection), false) = (&self.connection, self.is_over) {
            connection.retired.store(true, Ordering::Relaxed);
        }
    }
}

/// The right to make one request.
pub(super) enum Connection {
    Http1(Http1),
    Http2(Http2Stream),
}

/// Why no answer came.
pub(super) struct Broken {
    pub(super) failure: Failure,
    /// Nothing came since the request began, or the endpoint said that it did nothing.
    pub(super) is_untouched: bool,
}

/// What came of a request.
pub(super) enum Received {
    /// An answer whose body can be read.
    Whole(Response<Incoming>),
    /// Only the status of the answer could be read, and its `Retry-After`.
    Status(u16, Option<String>),
}

/// Starts a protocol on a new connection.
pub(super) async fn start(
    link: Link,
    tasks: &Tasks,
    idle_timeout: Duration,
) -> Result<Started, Failure> {
    let watch = Watch::new(link.protocol);
    let io = TokioIo::new(Watched {
        stream: link.stream,
        watch: Arc::clone(&watch),
    });
    match link.protocol {
        Protocol::Http1 => {
            let (sender, driver) = http1::Builder::new()
                .max_headers(FIELDS_MAX)
                .allow_spaces_after_header_name_in_responses(true)
                .allow_obsolete_multiline_headers_in_responses(true)
                .ignore_invalid_headers_in_responses(true)
                .handshake(io)
                .await
                .map_err(|error| failure(&error, &watch))?;
            drive(tasks, driver, Arc::clone(&watch), idle_timeout);
            Ok(Started::Http1(Http1 { sender, watch }))
        }
        Protocol::Http2 => {
            let (sender, driver) = http2::Builder::new(Spawner(tasks.clone()))
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .max_header_list_size(FIELDS_BYTES_MAX)
                .keep_alive_interval(PING_INTERVAL)
                .keep_alive_timeout(PING_TIMEOUT)
                .handshake(io)
                .await
                .map_err(|error| failure(&error, &watch))?;
            drive(tasks, driver, Arc::clone(&watch), idle_timeout);
            Ok(Started::Http2(Arc::new(Http2 {
                sender,
                watch,
                streams: AtomicUsize::new(0),
                retired: AtomicBool::new(false),
            })))
        }
    }
}

/// A connection before its first request.
pub(super) enum Started {
    Http1(Http1),
    Http2(Arc<Http2>),
}

/// Starts the tasks of HTTP/2.
#[derive(Clone)]
struct Spawner(Tasks);

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Spawner {
    fn execute(&self, future: F) {
        self.0.once(TaskKind::EgressConnection, future);
    }
}

/// Moves bytes until the connection is closed, or idle for too long.
fn drive<D>(tasks: &Tasks, driver: D, watch: Arc<Watch>, idle_timeout: Duration)
where
    D: Future<Output = hyper::Result<()>> + Send + 'static,
{
    tasks.once(TaskKind::EgressConnection, async move {
        let mut driver = Box::pin(driver);
        loop {
            let left = watch.idle_left(idle_timeout);
            if left.is_zero() {
                return;
            }
            tokio::select! {
                // Its error reaches the request.
                _ = &mut driver => return,
                () = sleep(left) => {}
            }
        }
    });
}

impl Connection {
    /// Makes the request, and waits for the head of the answer.
    pub(super) async fn send(&mut self, call: &Call) -> Result<Received, Broken> {
        let watch = Arc::clone(self.watch());
        let before = watch.begin();
        let sent = match self {
            Self::Http1(connection) => {
                let request = request(call, Version::HTTP_11);
                connection.sender.try_send_request(request).await
            }
            Self::Http2(stream) => {
                let request = request(call, Version::HTTP_2);
                let mut sender = stream.0.sender.clone();
                sender.try_send_request(request).await
            }
        };
        let mut error = match sent {
            Ok(response) => {
                watch.progressed();
                return Ok(Received::Whole(response));
            }
            Err(error) => error,
        };
        let is_unsent = error.take_message().is_some();
        let error = error.into_error();
        if let Self::Http2(stream) = self {
            stream.0.retired.store(true, Ordering::Relaxed);
        }
        if let Some((status, retry_after)) = watch.status() {
            return Ok(Received::Status(status, retry_after));
        }
        let is_untouched = is_unsent || watch.bytes() == before || was_refused(&error);
        Err(Broken {
            failure: failure(&error, &watch),
            is_untouched,
        })
    }

    /// A part of a body was read.
    pub(super) fn progressed(&self) {
        self.watch().progressed();
    }

    /// Retires an HTTP/2 connection unless the doubt is over when this is dropped.
    pub(super) fn doubt(&self) -> Doubt {
        let connection = match self {
            Self::Http1(_) => None,
            Self::Http2(stream) => Some(Arc::clone(&stream.0)),
        };
        let is_over = false;
        Doubt {
            connection,
            is_over,
        }
    }

    /// The connection, once it is free after a whole answer. An HTTP/2 one always is.
    pub(super) async fn freed(self) -> Option<Http1> {
        let Self::Http1(mut connection) = self else {
            return None;
        };
        let ready = timeout(RECYCLE_TIMEOUT, connection.sender.ready()).await;
        matches!(ready, Ok(Ok(()))).then_some(connection)
    }

    fn watch(&self) -> &Arc<Watch> {
        match self {
            Self::Http1(connection) => &connection.watch,
            Self::Http2(stream) => &stream.0.watch,
        }
    }
}

fn request(call: &Call, version: Version) -> Request<Body> {
    let mut request = Request::new(Full::new(call.body.clone()));
    *request.method_mut() = call.method.clone();
    *request.version_mut() = version;
    *request.headers_mut() = call.fields.clone();
    if version == Version::HTTP_2 {
        *request.uri_mut() = call.endpoint.whole.clone();
    } else {
        *request.uri_mut() = call.endpoint.path.clone();
        let host = call.endpoint.authority.clone();
        request.headers_mut().insert(header::HOST, host);
    }
    request
}

/// An HTTP/2 endpoint that refuses a stream, or goes away before it, has not looked at the request
/// (RFC 9113, section 8.7).
fn was_refused(error: &hyper::Error) -> bool {
    cause::<h2::Error>(error).is_some_and(|error| {
        error.is_remote()
            && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
    })
}

/// What an error of the HTTP library means.
pub(super) fn failure(error: &hyper::Error, watch: &Watch) -> Failure {
    if watch.is_flooded() {
        Failure::Protocol("the endpoint sent too much before its answer")
    } else if let Some(error) = cause::<rustls::Error>(error) {
        Failure::Tls(tls::words_of(error))
    } else if error.is_parse() {
        Failure::Protocol("the answer is not HTTP")
    } else {
        Failure::Reset
    }
}
