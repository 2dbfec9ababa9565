//! Connections that are used again.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    connection::{Connection, Http1, Http2},
    target::Origin,
};

/// How long an idle connection is kept: the idle time of common load balancers.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Idle connections in all, unless the node sets another number.
const IDLE_MAX: usize = 1024;
/// As many as one webhook may have under way: several may share a host, and a new connection costs
/// more than a request.
const IDLE_PER_ORIGIN_MAX: usize = 256;
/// Idle connections that are closed at once when a new one finds no open file.
const SHED: usize = 32;
/// Origins that are remembered to speak HTTP/2.
const HTTP2_ORIGINS_MAX: usize = 4096;

/// Its holder makes a connection that may serve all who wait for it.
pub(super) type ConnectTurn = Arc<tokio::sync::Mutex<()>>;

struct Idle {
    origin: Arc<Origin>,
    since: Instant,
    connection: Http1,
}

#[derive(Default)]
struct State {
    /// The number of the next connection: higher ones are younger.
    next: u64,
    idle: BTreeMap<u64, Idle>,
    /// The numbers of each origin's idle connections, the oldest first.
    by_origin: HashMap<Arc<Origin>, VecDeque<u64>>,
    http2: HashMap<Arc<Origin>, Vec<Arc<Http2>>>,
    http2_connections: usize,
    /// Origins that spoke HTTP/2, and the turn to connect to each.
    speak_http2: HashMap<Arc<Origin>, ConnectTurn>,
}

/// Idle HTTP/1 connections, and HTTP/2 connections in use or not.
pub(super) struct Pool {
    idle_max: AtomicUsize,
    idle_timeout_ms: AtomicU64,
    state: Mutex<State>,
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            idle_max: AtomicUsize::new(IDLE_MAX),
            idle_timeout_ms: AtomicU64::new(millis(IDLE_TIMEOUT)),
            state: Mutex::default(),
        }
    }
}

impl Pool {
    /// Bounds the idle connections in all, and in time.
    pub(super) fn set_limits(&self, connections_max: usize, timeout: Duration) {
        self.idle_max
            .store(connections_max.max(1), Ordering::Relaxed);
        self.idle_timeout_ms
            .store(millis(timeout), Ordering::Relaxed);
    }

    pub(super) fn idle_timeout(&self) -> Duration {
        Duration::from_millis(self.idle_timeout_ms.load(Ordering::Relaxed))
    }

    /// A connection to use now: the youngest, which lives most likely.
    pub(super) fn take(&self, origin: &Arc<Origin>) -> Option<Connection> {
        let idle_timeout = self.idle_timeout();
        let mut state = self.state();
        if let Some(stream) = state.stream(origin) {
            return Some(stream);
        }
        let mut busy = Vec::new();
        let mut found = None;
        while let Some(idle) = state.pop_youngest(origin) {
            if idle.connection.is_closed() || idle.since.elapsed() >= idle_timeout {
                continue;
            }
            if idle.connection.is_ready() {
                found = Some(idle.connection);
                break;
            }
            busy.push(idle);
        }
        for idle in busy.into_iter().rev() {
            state.push(idle);
        }
        found.map(Connection::Http1)
    }

    /// Keeps a connection for later.
    pub(super) fn put(&self, origin: &Arc<Origin>, connection: Http1) {
        connection.rest();
        let idle_timeout = self.idle_timeout();
        let idle = Idle {
            origin: Arc::clone(origin),
            since: Instant::now(),
            connection,
        };
        let mut state = self.state();
        state.push(idle);
        if state.by_origin.get(origin).map_or(0, VecDeque::len) > IDLE_PER_ORIGIN_MAX {
            state.pop_oldest_of(origin);
        }
        while state
            .idle
            .first_key_value()
            .is_some_and(|(_, idle)| idle.since.elapsed() >= idle_timeout)
        {
            state.pop_oldest();
        }
        self.bound(&mut state);
    }

    /// Shares a new HTTP/2 connection, and takes the first place on it.
    pub(super) fn share(&self, origin: &Arc<Origin>, connection: Arc<Http2>) -> Option<Connection> {
        let stream = connection.stream();
        let mut state = self.state();
        if state.speak_http2.len() >= HTTP2_ORIGINS_MAX {
            state.speak_http2.clear();
        }
        state.speak_http2.entry(Arc::clone(origin)).or_default();
        state
            .http2
            .entry(Arc::clone(origin))
            .or_default()
            .push(connection);
        state.http2_connections += 1;
        self.bound(&mut state);
        stream.map(Connection::Http2)
    }

    /// The turn to connect to an origin that spoke HTTP/2 before.
    pub(super) fn connect_turn(&self, origin: &Origin) -> Option<ConnectTurn> {
        self.state().speak_http2.get(origin).cloned()
    }

    /// The newest HTTP/2 connection to an origin.
    pub(super) fn newest_http2(&self, origin: &Origin) -> Option<Arc<Http2>> {
        self.state().http2.get(origin)?.last().cloned()
    }

    /// Closes some idle connections, so that their files are free. `false` when there is none.
    pub(super) fn shed(&self) -> bool {
        let mut state = self.state();
        let before = state.idle.len() + state.http2_connections;
        for _ in 0..SHED {
            if !state.pop_oldest() {
                state.drop_unused_http2();
                break;
            }
        }
        state.idle.len() + state.http2_connections < before
    }

    fn bound(&self, state: &mut State) {
        let most = self.idle_max.load(Ordering::Relaxed);
        if state.idle.len() + state.http2_connections <= most {
            return;
        }
        if !state.pop_oldest() {
            state.drop_unused_http2();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic in here would leave a connection out of one of the maps: it would be closed late.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

impl State {
    fn stream(&mut self, origin: &Arc<Origin>) -> Option<Connection> {
        let connections = self.http2.get_mut(origin)?;
        let before = connections.len();
        connections.retain(|connection| !connection.is_gone());
        self.http2_connections -= before - connections.len();
        if connections.is_empty() {
            self.http2.remove(origin);
            return None;
        }
        connections
            .iter()
            .find_map(Http2::stream)
            .map(Connection::Http2)
    }

    fn push(&mut self, idle: Idle) {
        let number = self.next;
        self.next += 1;
        self.by_origin
            .entry(Arc::clone(&idle.origin))
            .or_default()
            .push_back(number);
        self.idle.insert(number, idle);
    }

    fn pop_youngest(&mut self, origin: &Arc<Origin>) -> Option<Idle> {
        let number = self.by_origin.get_mut(origin)?.pop_back();
        self.forget_if_empty(origin);
        self.idle.remove(&number?)
    }

    fn pop_oldest_of(&mut self, origin: &Arc<Origin>) {
        let number = self.by_origin.get_mut(origin).and_then(VecDeque::pop_front);
        self.forget_if_empty(origin);
        if let Some(number) = number {
            self.idle.remove(&number);
        }
    }

    /// Closes the connection that is idle for longest.
    fn pop_oldest(&mut self) -> bool {
        let Some((number, idle)) = self.idle.pop_first() else {
            return false;
        };
        if let Some(numbers) = self.by_origin.get_mut(&idle.origin) {
            numbers.retain(|other| *other != number);
        }
        self.forget_if_empty(&idle.origin);
        true
    }

    fn forget_if_empty(&mut self, origin: &Arc<Origin>) {
        if self.by_origin.get(origin).is_some_and(VecDeque::is_empty) {
            self.by_origin.remove(origin);
        }
    }

    fn drop_unused_http2(&mut self) {
        self.http2.retain(|_, connections| {
            connections.retain(|connection| !connection.is_unused());
            !connections.is_empty()
        });
        self.http2_connections = self.http2.values().map(Vec::len).sum();
    }
}
