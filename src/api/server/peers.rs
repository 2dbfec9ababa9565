//! How many connections each peer has.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

type Counts = HashMap<IpAddr, usize>;

/// Counts connections per peer. An IPv6 network of 64 bits is one peer, since one machine can use
/// all of its addresses.
pub(super) struct Peers {
    connections_max: usize,
    /// Networks of proxies, which have no bound: each stands for many callers.
    proxies: Vec<ipnet::IpNet>,
    counts: Arc<Mutex<Counts>>,
}

/// A connection's place with its peer; it is free again when this is dropped.
pub(super) struct PeerPlace {
    network: IpAddr,
    counts: Arc<Mutex<Counts>>,
}

fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The address that stands for all addresses of one peer.
pub(super) fn network_of(peer: IpAddr) -> IpAddr {
    match peer {
        IpAddr::V4(_) => peer,
        IpAddr::V6(address) => {
            let network = address.to_bits() & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from_bits(network))
        }
    }
}

impl Peers {
    pub(super) fn new(connections_max: usize, proxies: Vec<ipnet::IpNet>) -> Self {
        Self {
            connections_max,
            proxies,
            counts: Arc::default(),
        }
    }

    /// A place for one more connection; `None` when the peer has as many as it may.
    pub(super) fn enter(&self, peer: IpAddr) -> Option<PeerPlace> {
        let network = network_of(peer);
        let is_proxy = self.proxies.iter().any(|proxies| proxies.contains(&peer));
        let mut counts = lock(&self.counts);
        let count = counts.entry(network).or_default();
        if !is_proxy && *count >= self.connections_max {
            return None;
        }
        *count += 1;
        Some(PeerPlace {
            network,
            counts: Arc::clone(&self.counts),
        })
    }
}

impl Drop for PeerPlace {
    fn drop(&mut self) {
        let mut counts = lock(&self.counts);
        if let Some(count) = counts.get_mut(&self.network) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn each_peer_has_its_own_bound_and_proxies_have_none() {
        let proxies = vec!["10.0.0.0/8".parse().expect("a network")];
        let peers = Peers::new(1, proxies);
        let first = peers.enter(address("192.0.2.1"));
        assert!(first.is_some());
        assert!(peers.enter(address("192.0.2.1")).is_none());
        let _other = peers.enter(address("192.0.2.2")).expect("another peer");
        drop(first);
        assert!(peers.enter(address("192.0.2.1")).is_some());

        let _proxy = peers.enter(address("10.1.1.1")).expect("a proxy");
        assert!(peers.enter(address("10.1.1.1")).is_some());
    }

    #[test]
    fn addresses_of_one_network_are_one_peer() {
        let peers = Peers::new(1, Vec::new());
        let _first = peers.enter(address("2001:db8::1")).expect("the first");
        assert!(peers.enter(address("2001:db8::ffff:2")).is_none());
        assert!(peers.enter(address("2001:db8:0:1::1")).is_some());
    }

    #[test]
    fn nothing_is_kept_of_peers_that_left() {
        let peers = Peers::new(1, Vec::new());
        drop(peers.enter(address("192.0.2.1")));
        assert!(lock(&peers.counts).is_empty());
    }
}
