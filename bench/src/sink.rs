//! Endpoints that note when each message came. `/ok/<endpoint>` answers 204 at once, `/hang/<endpoint>` never;
//! `GET /report?<number>` tells all that came after so many.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

/// One POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The message's number.
    pub(crate) id: u64,
    /// Microseconds since 1970.
    pub(crate) at: u64,
    pub(crate) endpoint: u32,
}

/// [`Seen`] on the wire, little endian.
pub(crate) const SEEN_BYTES: usize = 20;

impl Seen {
    fn encode(&self) -> [u8; SEEN_BYTES] {
        let mut bytes = [0; SEEN_BYTES];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.at.to_le_bytes());
        bytes[16..].copy_from_slice(&self.endpoint.to_le_bytes());
        bytes
    }

    /// From [`SEEN_BYTES`] bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let endpoint = u32::from_le_bytes(bytes[16..SEEN_BYTES].try_into().expect("four bytes"));
        Self { id: word(0), at: word(8), endpoint }
    }
}

/// Text before the message's number in its id.
pub(crate) const ID_PREFIX: &str = "BENCH";

pub(crate) fn now_micros() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// Listens on a free port, prints it, and serves until it is killed.
pub(crate) async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let seen = Arc::clone(&seen);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&seen)));
            let connection =
                http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
            // A sender that goes away is no fault of the sink.
            let _ = connection.await;
        });
    }
}

async fn answer(request: Request<Incoming>, seen: Arc<Mutex<Vec<Seen>>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let at = now_micros();
    let path = request.uri().path().to_owned();
    if path == "/report" {
        let known: usize = request.uri().query().and_then(|text| text.parse().ok()).unwrap_or(0);
        let seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = seen.iter().skip(known).flat_map(Seen::encode).collect();
        return Ok(Response::new(Full::new(bytes.into())));
    }
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    if path.starts_with("/hang") {
        pending::<()>().await;
    }
    let endpoint = path.rsplit('/').next().and_then(|text| text.parse().ok());
    if let (Some(id), Some(endpoint)) = (number_in(&body), endpoint) {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(Seen { id, at, endpoint });
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = hyper::StatusCode::NO_CONTENT;
    Ok(response)
}

/// Looks for the number without parsing the whole body: the sink shares the processors with what it measures.
fn number_in(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let rest = text.split_once(ID_PREFIX)?.1;
    rest[..rest.find('"')?].parse().ok()
}
