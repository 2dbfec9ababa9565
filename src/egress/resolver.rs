//! Names to addresses that may be called.

use std::{
    collections::HashMap,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use ipnet::IpNet;
use tokio::{
    net::TcpSocket,
    sync::{OwnedSemaphorePermit, Semaphore, oneshot},
    time::timeout,
};

use super::{
    failure::{Failure, NotMade, has_no_open_file},
    stage::{Stage, StageCell},
};
use crate::{
    model::ClientId,
    policy::address::forbidden,
    tasks::{TaskKind, Tasks},
};

/// Look-ups under way at once: the system's resolver takes a thread each.
const LOOKUPS_MAX: usize = 64;
/// Those of one client. Its name servers may hang.
const LOOKUPS_PER_CLIENT_MAX: usize = LOOKUPS_MAX / 4;

/// Asks for the addresses of a name.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// All addresses of `host`.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own resolver.
pub(super) struct System;

#[async_trait]
impl Lookup for System {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((host, 0))
            .await?
            .map(|address| address.ip())
            .collect())
    }
}

/// Looks names up and refuses what may not be called.
pub(super) struct Guard {
    lookup: Arc<dyn Lookup>,
    allow: Arc<[IpNet]>,
    /// Of one look-up.
    lookup_timeout: Duration,
    /// How long a look-up waits for its turn.
    turn_timeout: Duration,
    all: Arc<Semaphore>,
    by_client: Mutex<HashMap<ClientId, Arc<Semaphore>>>,
    tasks: Tasks,
}

/// The right to one look-up.
struct Turn {
    _client: OwnedSemaphorePermit,
    _node: OwnedSemaphorePermit,
}

impl Guard {
    pub(super) fn new(
        lookup: Arc<dyn Lookup>,
        allow: &[IpNet],
        lookup_timeout: Duration,
        turn_timeout: Duration,
        tasks: Tasks,
    ) -> Self {
        Self {
            lookup,
            allow: allow.into(),
            lookup_timeout,
            turn_timeout,
            all: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            by_client: Mutex::default(),
            tasks,
        }
    }

    /// The addresses of a name, all of which may be called.
    pub(super) async fn addresses(
        &self,
        client: ClientId,
        host: &str,
        stage: &StageCell,
    ) -> Result<Vec<IpAddr>, Failure> {
        stage.set(Stage::Turn);
        let turn = timeout(self.turn_timeout, self.turn(client))
            .await
            .ok()
            .flatten()
            .ok_or(Failure::NotMade(NotMade::Lookups))?;
        stage.set(Stage::Lookup);
        let found = timeout(self.lookup_timeout, self.look_up(turn, host)).await;
        let addresses = match found {
            Ok(Ok(Ok(addresses))) if !addresses.is_empty() => addresses,
            Ok(Ok(Err(_))) if is_out_of_files() => {
                return Err(Failure::NotMade(NotMade::OpenFiles));
            }
            _ => return Err(Failure::Unresolved),
        };
        // A mixed answer is an attack or an error: refuse all of it.
        match addresses
            .iter()
            .find_map(|address| forbidden(*address, &self.allow))
        {
            Some(rule) => Err(Failure::Blocked(rule)),
            None => Ok(addresses),
        }
    }

    /// Waits for the client's share first: only those that could go wait for the node's.
    async fn turn(&self, client: ClientId) -> Option<Turn> {
        let share = self.share(client);
        Some(Turn {
            _client: share.acquire_owned().await.ok()?,
            _node: Arc::clone(&self.all).acquire_owned().await.ok()?,
        })
    }

    /// A look-up goes on when nobody waits for it any more, since its thread does; so long it keeps
    /// its turn.
    fn look_up(&self, turn: Turn, host: &str) -> oneshot::Receiver<io::Result<Vec<IpAddr>>> {
        let (answer, answered) = oneshot::channel();
        let lookup = Arc::clone(&self.lookup);
        let host = host.to_owned();
        self.tasks.once(TaskKind::DnsLookup, async move {
            let found = lookup.lookup(&host).await;
            drop(turn);
            // An error means that nobody waits any more.
            let _ = answer.send(found);
        });
        answered
    }

    fn share(&self, client: ClientId) -> Arc<Semaphore> {
        let mut shares = self
            .by_client
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // A look-up, waiting or under way, holds a reference. This keeps the map as small as that.
        if shares.len() > LOOKUPS_MAX && !shares.contains_key(&client) {
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = shares
            .entry(client)
            .or_insert_with(|| Arc::new(Semaphore::new(LOOKUPS_PER_CLIENT_MAX)));
        Arc::clone(share)
    }
}

/// The system's resolver does not say so: it calls a name unknown when it has no socket.
fn is_out_of_files() -> bool {
    TcpSocket::new_v4().is_err_and(|error| has_no_open_file(&error))
}
