//! Endpoints that note when each message came and what they answered, see [`answer`]. `GET
//! /report?<number>` tells all that came after so many.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    future::pending,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, StatusCode, body::Incoming, header, server::conn::http1, service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpListener, time::sleep};

/// How long a slow endpoint takes.
pub(crate) const SLOW: Duration = Duration::from_millis(200);
/// What an endpoint with a limit takes in a second.
pub(crate) const LIMIT: u32 = 2;
/// Of so many messages, a flaky endpoint refuses one at first.
const FLAKY: u64 = 10;

/// One POST.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The message's number.
    pub(crate) id: u64,
    /// Microseconds since 1970.
    pub(crate) at: u64,
    pub(crate) endpoint: u32,
    /// What was answered.
    pub(crate) status: u16,
}

/// [`Seen`] on the wire, little endian.
pub(crate) const SEEN_BYTES: usize = 22;

impl Seen {
    fn encode(&self) -> [u8; SEEN_BYTES] {
        let mut bytes = [0; SEEN_BYTES];
        bytes[..8].copy_from_slice(&self.id.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.at.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.endpoint.to_le_bytes());
        bytes[20..].copy_from_slice(&self.status.to_le_bytes());
        bytes
    }

    /// From [`SEEN_BYTES`] bytes.
    pub(crate) fn decode(bytes: &[u8]) -> Self {
        let word =
            |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let endpoint = u32::from_le_bytes(bytes[16..20].try_into().expect("four bytes"));
        let status = u16::from_le_bytes(bytes[20..SEEN_BYTES].try_into().expect("two bytes"));
        Self {
            id: word(0),
            at: word(8),
            endpoint,
            status,
        }
    }

    /// Whether the endpoint took it.
    pub(crate) fn taken(self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// Text before the message's number in its id.
pub(crate) const ID_PREFIX: &str = "BENCH";

pub(crate) fn now_micros() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// What all connections share.
#[derive(Default)]
struct Book {
    seen: Vec<Seen>,
    /// Messages that a flaky endpoint has refused.
    refused: HashSet<u64>,
    /// Of each endpoint with a limit: its second, and what it took in that.
    taken: HashMap<u32, (u64, u32)>,
}

impl Book {
    /// What the endpoint answers, by its path. Notes it.
    fn note(&mut self, manner: &str, id: u64, at: u64, endpoint: u32) -> u16 {
        let status = match manner {
            "flaky" if scattered(id).is_multiple_of(FLAKY) && self.refused.insert(id) => 500,
            "limited" => {
                let second = at / 1_000_000;
                let taken = self.taken.entry(endpoint).or_insert((second, 0));
                if taken.0 != second {
                    *taken = (second, 0);
                }
                taken.1 += 1;
                if taken.1 > LIMIT { 429 } else { 204 }
            }
            _ => 204,
        };
        self.seen.push(Seen {
            id,
            at,
            endpoint,
            status,
        });
        status
    }
}

/// Numbers go to endpoints in turn: without this, all that are refused would be those of a few
/// endpoints.
fn scattered(id: u64) -> u64 {
    // Fibonacci hashing (Knuth, The Art of Computer Programming, 6.4).
    id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32
}

/// Listens on a free port, prints it, and serves until it is killed.
pub(crate) async fn run() -> anyhow::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    let book: Arc<Mutex<Book>> = Arc::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let book = Arc::clone(&book);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&book)));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service);
            // A sender that goes away is no fault of the sink.
            let _ = connection.await;
        });
    }
}

/// `/ok/<endpoint>` answers 204 at once; `slow`, `flaky`, `limited` and `hang` as
/// [`crate::webhooks::Manner`] says.
async fn answer(
    request: Request<Incoming>,
    book: Arc<Mutex<Book>>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let at = now_micros();
    let path = request.uri().path().to_owned();
    if path == "/report" {
        let known: usize = request
            .uri()
            .query()
            .and_then(|text| text.parse().ok())
            .unwrap_or(0);
        let book = book.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = book
            .seen
            .iter()
            .skip(known)
            .flat_map(Seen::encode)
            .collect();
        return Ok(Response::new(Full::new(bytes.into())));
    }
    let body = request
        .into_body()
        .collect()
        .await
        .map(|body| body.to_bytes())
        .unwrap_or_default();
    let (manner, endpoint) = path[1..].split_once('/').unwrap_or((&path, ""));
    match manner {
        "hang" => pending::<()>().await,
        "slow" => sleep(SLOW).await,
        _ => {}
    }
    let mut response = Response::new(Full::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    if let (Some(id), Ok(endpoint)) = (number_in(&body), endpoint.parse()) {
        let status = book
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(manner, id, at, endpoint);
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
        if status == 429 {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
    }
    Ok(response)
}

/// Looks for the number without parsing the whole body: the sink shares the processors with what it
/// measures.
fn number_in(body: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(body).ok()?;
    let rest = text.split_once(ID_PREFIX)?.1;
    rest[..rest.find('"')?].parse().ok()
}

/// The number in a message's id.
pub(crate) fn number_of(message_id: &str) -> Option<u64> {
    message_id.strip_prefix(ID_PREFIX)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_seen_survives_the_way_to_the_bench() {
        let seen = Seen {
            id: u64::MAX - 1,
            at: 1_764_000_000_000_001,
            endpoint: 99_999,
            status: 429,
        };
        assert_eq!(Seen::decode(&seen.encode()), seen);
        assert!(!seen.taken());
    }

    #[test]
    fn a_flaky_endpoint_refuses_one_message_in_ten_and_each_once() {
        let mut book = Book::default();
        let refused: Vec<u64> = (0..1_000)
            .filter(|id| book.note("flaky", *id, 0, 1) == 500)
            .collect();
        assert!((80..=120).contains(&refused.len()), "{}", refused.len());
        // Of a hundred endpoints, no one is refused all.
        assert!(
            (0..100).all(|endpoint| refused.iter().filter(|id| **id % 100 == endpoint).count() < 5)
        );
        assert!(
            refused
                .iter()
                .all(|id| book.note("flaky", *id, 1, 1) == 204)
        );
    }

    #[test]
    fn a_limited_endpoint_takes_so_many_a_second() {
        let mut book = Book::default();
        let mut taken = |at| {
            (0..8)
                .filter(|_| book.note("limited", 1, at, 7) == 204)
                .count()
        };
        assert_eq!(
            [taken(0), taken(999_999), taken(1_000_000)],
            [LIMIT as usize, 0, LIMIT as usize]
        );
    }
}
