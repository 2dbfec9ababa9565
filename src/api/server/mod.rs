//! Serving HTTP/1.1 with bounds that `axum::serve` does not have: deadlines for headers and for
//! answers that nobody reads, and bounds on connections, in all and per peer.

mod peers;
mod stalls;

use std::{
    collections::BTreeMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{Router, extract::Request as AxumRequest};
use hyper::{Request, body::Incoming, server::conn::http1, service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use self::{
    peers::{PeerPlace, Peers, network_of},
    stalls::Stalls,
};
use crate::{
    config,
    tasks::{TaskKind, Tasks},
    telemetry,
};

/// After a connection could not be accepted: most often there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Probes and scrapes: a few callers, each with one connection.
const PROBE_CONNECTIONS_MAX: usize = 64;
/// Probes are small and come from near by.
const PROBE_HEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// The address that a request came from: the caller's, or its proxy's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer(pub(super) IpAddr);

impl Peer {
    /// The address that stands for the peer's whole network, as its bounds count it.
    pub(super) fn network(self) -> IpAddr {
        network_of(self.0)
    }
}

/// What happens to a new connection when as many as allowed are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WhenFull {
    /// It waits until one ends.
    Wait,
    /// The oldest one is closed for it.
    CloseOldest,
}

/// The bounds of one listener.
#[derive(Debug, Clone)]
pub struct Limits {
    header_timeout: Duration,
    write_timeout: Duration,
    connections_max: usize,
    when_full: WhenFull,
    connections_per_peer_max: usize,
    /// Peers without a bound of their own.
    proxies: Vec<ipnet::IpNet>,
}

impl Limits {
    /// The bounds of the admin API.
    pub fn api(settings: &config::Api) -> Self {
        Self {
            header_timeout: settings.header_timeout,
            write_timeout: settings.write_timeout,
            connections_max: settings.connections_max,
            when_full: WhenFull::Wait,
            connections_per_peer_max: settings.connections_per_peer_max,
            proxies: settings.proxy_cidrs.clone(),
        }
    }

    /// The bounds of the listener for probes. The oldest connection makes room for a new one, so
    /// callers that only hold connections cannot make a probe wait.
    pub fn probes(settings: &config::Api) -> Self {
        Self {
            header_timeout: PROBE_HEADER_TIMEOUT,
            connections_max: PROBE_CONNECTIONS_MAX,
            when_full: WhenFull::CloseOldest,
            connections_per_peer_max: usize::MAX,
            ..Self::api(settings)
        }
    }
}

/// Serves until cancelled; then lets requests in flight end.
///
/// # Errors
/// None at present: an error of one connection ends that connection alone.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    tasks: Tasks,
    cancel: CancellationToken,
) -> io::Result<()> {
    let places = Places::new(&limits);
    let peers = Peers::new(limits.connections_per_peer_max, limits.proxies.clone());
    let connections = tasks.group();
    loop {
        let permit = tokio::select! {
            () = cancel.cancelled() => break,
            permit = places.permit() => permit,
        };
        let accepted = tokio::select! {
            () = cancel.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let peer = Peer(address.ip().to_canonical());
        let Some(peer_place) = peers.enter(peer.0) else {
            telemetry::http_connection_closed("peer_limit");
            continue;
        };
        let place = places.enter(permit);
        let connection = Connection {
            stream,
            peer,
            router: router.clone(),
            header_timeout: limits.header_timeout,
            write_timeout: limits.write_timeout,
        };
        let cancel = cancel.clone();
        connections.once(TaskKind::Connection, async move {
            serve_one(connection, place, peer_place, cancel).await;
        });
    }
    connections.wait().await;
    Ok(())
}

/// The places for connections of one listener.
struct Places {
    /// For [`WhenFull::Wait`].
    permits: Option<Arc<Semaphore>>,
    connections_max: usize,
    open: Arc<Mutex<Open>>,
}

/// The open connections by age, for [`WhenFull::CloseOldest`].
#[derive(Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, CancellationToken>,
}

/// A connection's place; it is free again when this is dropped.
struct Place {
    number: u64,
    open: Arc<Mutex<Open>>,
    closed: CancellationToken,
    _permit: Option<OwnedSemaphorePermit>,
}

fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Places {
    fn new(limits: &Limits) -> Self {
        let waits = limits.when_full == WhenFull::Wait;
        Self {
            permits: waits.then(|| Arc::new(Semaphore::new(limits.connections_max))),
            connections_max: limits.connections_max,
            open: Arc::default(),
        }
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        let permits = self.permits.clone()?;
        let permit = permits.acquire_owned().await;
        Some(permit.expect("the semaphore is never closed"))
    }

    fn enter(&self, permit: Option<OwnedSemaphorePermit>) -> Place {
        let closed = CancellationToken::new();
        let mut open = lock(&self.open);
        if permit.is_none()
            && open.connections.len() >= self.connections_max
            && let Some((_, oldest)) = open.connections.pop_first()
        {
            telemetry::http_connection_closed("oldest");
            oldest.cancel();
        }
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, closed.clone());
        Place {
            number,
            open: Arc::clone(&self.open),
            closed,
            _permit: permit,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.open).connections.remove(&self.number);
    }
}

/// An accepted connection.
struct Connection {
    stream: TcpStream,
    peer: Peer,
    router: Router,
    header_timeout: Duration,
    write_timeout: Duration,
}

async fn serve_one(
    connection: Connection,
    place: Place,
    _peer_place: PeerPlace,
    cancel: CancellationToken,
) {
    let Connection {
        stream,
        peer,
        router,
        header_timeout,
        write_timeout,
    } = connection;
    // Small answers must not wait for more; a socket that cannot be told so works all the same.
    let _ = stream.set_nodelay(true);
    let router = TowerToHyperService::new(router);
    let service = service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(peer);
        service::Service::call(&router, request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(header_timeout)
        .serve_connection(TokioIo::new(Stalls::new(stream, write_timeout)), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = place.closed.cancelled() => return,
        () = cancel.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// The peer of a request; `None` in tests without a listener.
pub(super) fn peer_of(request: &AxumRequest) -> Option<Peer> {
    request.extensions().get().copied()
}

#[cfg(test)]
mod tests;
