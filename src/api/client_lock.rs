//! One at a time per client, over all nodes.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{Mutex, MutexGuard},
    time::{Instant, sleep},
};

use super::problem::{Code, Problem};
use crate::{
    bus::{Bus, Lease},
    model::ClientId,
};

/// Clients of the same remainder share a lock of this process.
const STRIPES: usize = 64;
/// How long a request waits for those before it; below `api.request_timeout`.
const WAIT_MAX: Duration = Duration::from_secs(8);
const RETRY_PAUSE: Duration = Duration::from_millis(30);

/// Makes requests of one client that count and then create go one after the other. Without it, a
/// burst of them would all count before the first creates.
#[derive(Clone)]
pub(super) struct ClientLocks {
    /// Queues the requests of this process, so that only one of them asks for the lease.
    stripes: Arc<[Mutex<()>; STRIPES]>,
    /// This process, for operators who read the leases.
    node: Arc<str>,
}

/// A client's lock.
pub(super) struct ClientLock<'a> {
    lease: Lease,
    _stripe: MutexGuard<'a, ()>,
}

impl ClientLocks {
    pub(super) fn new(node: &str) -> Self {
        Self {
            stripes: Arc::new(std::array::from_fn(|_| Mutex::new(()))),
            node: node.into(),
        }
    }

    /// Waits for the client's lock of this name. It must be released after use.
    ///
    /// # Errors
    /// When the bus does not answer, or the requests before this one take too long.
    pub(super) async fn lock(
        &self,
        bus: &Bus,
        client: ClientId,
        name: &'static str,
    ) -> Result<ClientLock<'_>, Problem> {
        let deadline = Instant::now() + WAIT_MAX;
        let busy = || {
            Problem::new(
                Code::Unavailable,
                "too many requests of this client wait for each other; try again later",
            )
        };
        let index = usize::try_from(client.get() % STRIPES as u64).expect("a small number");
        let waiting = tokio::time::timeout_at(deadline, self.stripes[index].lock());
        let stripe = waiting.await.map_err(|_| busy())?;
        loop {
            let name = format!("api.{name}.{client}");
            if let Some(lease) = bus.acquire_lease(&name, &self.node).await? {
                return Ok(ClientLock {
                    lease,
                    _stripe: stripe,
                });
            }
            if Instant::now() >= deadline {
                return Err(busy());
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}

impl ClientLock<'_> {
    /// Lets the next request go. A lock that is dropped instead ends with its lease.
    pub(super) async fn release(self) {
        self.lease.release().await;
    }
}
