//! The customers' endpoints: they note every request, and behave as told.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::to_bytes,
    extract::{Path, Request, State},
    http::StatusCode,
    routing::post,
};
use ledger::{Sighting, fingerprint};
use tokio::{net::TcpListener, task::JoinHandle};

/// Text before a message's number in its id.
pub(crate) const ID_PREFIX: &str = "CHAOS";

/// Microseconds since the run began, for all books.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    pub(crate) fn now(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).expect("no run takes so long")
    }
}

/// How an endpoint answers. Chance is drawn from the run's seed, the message and the attempt.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Manner {
    /// 204 within so many milliseconds.
    Well { within_ms: u64 },
    /// The same, but of a hundred messages so many get 503 at their first and second attempt.
    Flaky { within_ms: u64, percent: u64 },
    /// 400 at once.
    Refusing,
}

struct Endpoint {
    manner: Manner,
    under_way: AtomicU32,
}

struct Shared {
    seed: u64,
    clock: Clock,
    endpoints: Vec<Endpoint>,
    sightings: Mutex<Vec<Sighting>>,
    /// The longest time in microseconds by which a timer was late here.
    stall: AtomicU64,
}

/// All endpoints, on one port; gone when dropped.
pub(crate) struct Farm {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: [JoinHandle<()>; 2],
}

impl Farm {
    /// One endpoint for each manner; its number is its place.
    pub(crate) async fn start(seed: u64, manners: &[Manner]) -> Self {
        let endpoints = manners.iter().map(|manner| Endpoint {
            manner: *manner,
            under_way: AtomicU32::new(0),
        });
        let clock = Clock(Instant::now());
        let sightings = Mutex::default();
        let stall = AtomicU64::new(0);
        let shared = Arc::new(Shared {
            seed,
            clock,
            endpoints: endpoints.collect(),
            sightings,
            stall,
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let router = Router::new()
            .route("/{endpoint}", post(answer))
            .with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("serves until aborted");
        });
        let watch = tokio::spawn(watch(Arc::clone(&shared)));
        Self {
            address,
            shared,
            tasks: [server, watch],
        }
    }

    pub(crate) fn clock(&self) -> Clock {
        self.shared.clock
    }

    pub(crate) fn url(&self, endpoint: u32) -> String {
        format!("http://{}/{endpoint}", self.address)
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The longest that this machine, as far as it was noticed here, let runnable work wait.
    pub(crate) fn stall(&self) -> Duration {
        Duration::from_micros(self.shared.stall.load(Ordering::Relaxed))
    }

    pub(crate) fn sightings(&self) -> Vec<Sighting> {
        self.shared
            .sightings
            .lock()
            .expect("no panic while held")
            .clone()
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn watch(shared: Arc<Shared>) {
    const STEP: Duration = Duration::from_millis(5);
    loop {
        let began = Instant::now();
        tokio::time::sleep(STEP).await;
        let late = began.elapsed().saturating_sub(STEP).as_micros();
        shared
            .stall
            .fetch_max(u64::try_from(late).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// One request under way, until this is dropped.
struct UnderWay<'a>(&'a AtomicU32);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn answer(
    State(shared): State<Arc<Shared>>,
    Path(number): Path<u32>,
    request: Request,
) -> StatusCode {
    let at = shared.clock.now();
    let Some(endpoint) = shared.endpoints.get(number as usize) else {
        return StatusCode::NOT_FOUND;
    };
    let under_way = endpoint.under_way.fetch_add(1, Ordering::Relaxed) + 1;
    let _leaves = UnderWay(&endpoint.under_way);
    let (parts, body) = request.into_parts();
    // A caller that is killed while it sends was not seen.
    let Ok(body) = to_bytes(body, 1 << 20).await else {
        return StatusCode::BAD_REQUEST;
    };
    let Some(id) = number_in(&body) else {
        return StatusCode::BAD_REQUEST;
    };
    let webhook_id = parts
        .headers
        .get("webhook-id")
        .map_or(&[][..], |value| value.as_bytes());
    let same = fingerprint(&[webhook_id, &body]);
    let (place, attempt) = {
        let mut sightings = shared.sightings.lock().expect("no panic while held");
        let before = sightings.iter().rev().filter(|one| one.id == id).count() as u64;
        sightings.push(Sighting {
            endpoint: number,
            id,
            same,
            at,
            status: 0,
            under_way,
        });
        (sightings.len() - 1, before + 1)
    };
    let chance = |what: u64, of: u64| {
        fingerprint(&[&[shared.seed, id, attempt, what]
            .map(u64::to_le_bytes)
            .concat()])
            % of.max(1)
    };
    let (within_ms, status) = match endpoint.manner {
        Manner::Well { within_ms } => (within_ms, StatusCode::NO_CONTENT),
        Manner::Flaky { within_ms, percent } if attempt <= 2 && chance(1, 100) < percent => {
            (within_ms, StatusCode::SERVICE_UNAVAILABLE)
        }
        Manner::Flaky { within_ms, .. } => (within_ms, StatusCode::NO_CONTENT),
        Manner::Refusing => (0, StatusCode::BAD_REQUEST),
    };
    // Should the caller be killed meanwhile, this ends here, and the sighting stays without an
    // answer.
    tokio::time::sleep(Duration::from_millis(chance(2, within_ms))).await;
    shared.sightings.lock().expect("no panic while held")[place].status = status.as_u16();
    status
}

fn number_in(body: &[u8]) -> Option<u64> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    body["message_id"]
        .as_str()?
        .strip_prefix(ID_PREFIX)?
        .parse()
        .ok()
}
