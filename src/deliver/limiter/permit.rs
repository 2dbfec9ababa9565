//! Leave for one attempt.

use std::{
    fmt, mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::OwnedSemaphorePermit;

use super::{EndpointLimiter, now};

/// Whether an attempt is the one probe of a half-open breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ordinary,
    Probe,
}

/// Leave for one attempt. When it is dropped the endpoint has room for another, and a probe that
/// was not made is left to the next message.
pub(in crate::deliver) struct SendPermit {
    limiter: Arc<EndpointLimiter>,
    kind: Kind,
    granted_at: Instant,
    _permit: OwnedSemaphorePermit,
}

impl SendPermit {
    pub(super) fn new(
        limiter: Arc<EndpointLimiter>,
        kind: Kind,
        permit: OwnedSemaphorePermit,
    ) -> Self {
        Self {
            limiter,
            kind,
            granted_at: now(),
            _permit: permit,
        }
    }

    /// The limiter that gave it.
    pub(in crate::deliver) fn limiter(&self) -> Arc<EndpointLimiter> {
        Arc::clone(&self.limiter)
    }

    /// How long ago it was given.
    pub(super) fn age(&self) -> Duration {
        now().saturating_duration_since(self.granted_at)
    }

    /// Says what the attempt was. From here on it counts as made.
    pub(super) fn used(&mut self) -> Kind {
        mem::replace(&mut self.kind, Kind::Ordinary)
    }
}

impl fmt::Debug for SendPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SendPermit")
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Drop for SendPermit {
    fn drop(&mut self) {
        self.limiter.permit_returned(self.kind);
    }
}

/// Counts one waiter as long as it lives.
pub(super) struct Waiter<'a> {
    waiters: &'a AtomicUsize,
    /// Those that waited already.
    pub(super) before: usize,
}

impl<'a> Waiter<'a> {
    pub(super) fn join(waiters: &'a AtomicUsize) -> Self {
        Self {
            waiters,
            before: waiters.fetch_add(1, Ordering::Relaxed),
        }
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.waiters.fetch_sub(1, Ordering::Relaxed);
    }
}
