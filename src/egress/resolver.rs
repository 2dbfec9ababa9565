//! Names to addresses that may be called.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::{sync::Semaphore, time::timeout};

use super::failure::Refused;
use crate::policy::address::forbidden;

/// Look-ups under way at once: the system's resolver takes a thread each.
const LOOKUPS_MAX: usize = 64;

/// Asks for the addresses of a name.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// All addresses of `host`.
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>>;
}

/// The system's own resolver.
pub(super) struct System {
    permits: Semaphore,
}

impl System {
    pub(super) fn new() -> Self {
        Self {
            permits: Semaphore::new(LOOKUPS_MAX),
        }
    }
}

#[async_trait]
impl Lookup for System {
    async fn lookup(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        let _permit = self.permits.acquire().await.map_err(io::Error::other)?;
        Ok(tokio::net::lookup_host((host, 0))
            .await?
            .map(|address| address.ip())
            .collect())
    }
}

/// Looks names up and refuses what may not be called.
#[derive(Clone)]
pub(super) struct Guard {
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) allow: Arc<[IpNet]>,
    /// Of one look-up.
    pub(super) timeout: Duration,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move { Ok(guard.addresses(name.as_str()).await?) })
    }
}

impl Guard {
    async fn addresses(&self, host: &str) -> Result<Addrs, Refused> {
        let found = timeout(self.timeout, self.lookup.lookup(host)).await;
        let addresses = match found {
            Ok(Ok(addresses)) if !addresses.is_empty() => addresses,
            _ => return Err(Refused::Unknown),
        };
        // A mixed answer is an attack or an error: refuse all of it.
        if let Some(rule) = addresses
            .iter()
            .find_map(|address| forbidden(*address, &self.allow))
        {
            return Err(Refused::Blocked(rule));
        }
        // The URL's port replaces the zero.
        Ok(Box::new(
            addresses
                .into_iter()
                .map(|address| SocketAddr::new(address, 0)),
        ))
    }
}
