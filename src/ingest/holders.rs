//! Which ingest nodes share the sessions, when their keys are in JetStream.
//!
//! Each node holds a lease under its own name and renews it every second. The others look whether
//! it changes, by their own clocks: after four seconds without a change the node is dead, and its
//! sessions may be taken. Should it live, it cannot write any more to the keys of what is taken.
//! A node that stops gives the lease back first, so that the others look out for its sessions.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::bus::Bus;

/// Names of these leases.
const PREFIX: &str = "ingest.";
const BEAT: Duration = Duration::from_secs(1);
const DEAD_AFTER: Duration = Duration::from_secs(4);
/// How long a node that stops may take to let go of its sessions.
const LEAVE_MAX: Duration = Duration::from_secs(15);
/// Before a new node gets sessions of others: it may be gone again at once.
const SETTLED_AFTER: Duration = Duration::from_secs(5);

struct Node {
    revision: u64,
    changed_at: Instant,
    came_at: Instant,
}

/// The ingest nodes, as this one sees them.
pub(super) struct Holders {
    own: String,
    nodes: BTreeMap<String, Node>,
    /// Nodes that stopped, and when.
    left: BTreeMap<String, Instant>,
}

impl Holders {
    pub(super) fn new(own: &str) -> Self {
        Self {
            own: own.to_owned(),
            nodes: BTreeMap::new(),
            left: BTreeMap::new(),
        }
    }

    /// Asks which nodes there are.
    pub(super) async fn look(&mut self, bus: &Bus) -> Result<(), crate::bus::Error> {
        let found = bus.lease_revisions(&format!("{PREFIX}*")).await;
        if found.is_err() {
            // While nobody can be asked, silence says nothing.
            self.forgive(Instant::now());
        }
        self.note(found?, Instant::now());
        Ok(())
    }

    fn forgive(&mut self, now: Instant) {
        self.nodes
            .values_mut()
            .for_each(|node| node.changed_at = now);
    }

    fn note(&mut self, found: Vec<(String, u64)>, now: Instant) {
        let mut earlier = std::mem::take(&mut self.nodes);
        for (key, revision) in found {
            let name = key.strip_prefix(PREFIX).unwrap_or(&key).to_owned();
            let node = match earlier.remove(&name) {
                Some(node) if node.revision == revision => node,
                known => Node {
                    revision,
                    changed_at: now,
                    came_at: known.map_or(now, |node| node.came_at),
                },
            };
            self.nodes.insert(name, node);
        }
        self.left.retain(|_, at| now - *at < LEAVE_MAX * 2);
        // What was dead has left nothing to wait for: its sessions' leases end with its own.
        let stopped = earlier
            .into_iter()
            .filter(|(_, node)| now - node.changed_at < DEAD_AFTER);
        self.left.extend(stopped.map(|(name, _)| (name, now)));
    }

    /// Whether the sessions of this node may be taken.
    pub(super) fn is_dead(&self, node: &str, now: Instant) -> bool {
        let is_silent = |node: &Node| now - node.changed_at >= DEAD_AFTER;
        let is_late = |at: &Instant| now - *at >= LEAVE_MAX;
        self.nodes.get(node).is_some_and(is_silent) || self.left.get(node).is_some_and(is_late)
    }

    /// Whether there is a dead node.
    pub(super) fn has_dead(&self, now: Instant) -> bool {
        let mut all = self.nodes.keys().chain(self.left.keys());
        all.any(|name| *name != self.own && self.is_dead(name, now))
    }

    /// Whether a node has just stopped, and its sessions become free one after the other.
    pub(super) fn has_leaving(&self, now: Instant) -> bool {
        self.left.values().any(|at| now - *at < LEAVE_MAX)
    }

    /// How many of these sessions this node may run.
    pub(super) fn share(&self, sessions: usize, now: Instant) -> usize {
        sessions.div_ceil(self.count(|node| now - node.changed_at < DEAD_AFTER))
    }

    /// The same, without nodes that have only just come.
    pub(super) fn settled_share(&self, sessions: usize, now: Instant) -> usize {
        sessions.div_ceil(self.count(|node| {
            now - node.changed_at < DEAD_AFTER && now - node.came_at >= SETTLED_AFTER
        }))
    }

    /// This node, and all others that are like this.
    fn count(&self, is_counted: impl Fn(&Node) -> bool) -> usize {
        let others = self.nodes.iter().filter(|(name, _)| **name != self.own);
        1 + others.filter(|(_, node)| is_counted(node)).count()
    }
}

/// Keeps this node's own lease until it stops.
pub(super) async fn attend(bus: Bus, node: String, stopping: CancellationToken) {
    let name = format!("{PREFIX}{node}");
    while !stopping.is_cancelled() {
        match bus.acquire_lease(&name, &node).await {
            Ok(Some(lease)) => tokio::select! {
                () = lease.keep_every(BEAT) => {}
                () = stopping.cancelled() => lease.release().await,
            },
            // What an earlier try of this node's left ends by itself.
            Ok(None) => sleep(BEAT).await,
            Err(error) => {
                tracing::debug!(%error, "the node's own lease is taken later");
                sleep(BEAT).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(nodes: &[(&str, u64)]) -> Vec<(String, u64)> {
        let named = nodes
            .iter()
            .map(|(name, revision)| (format!("{PREFIX}{name}"), *revision));
        named.collect()
    }

    #[test]
    fn node_is_dead_after_silence_and_leaving_once_its_lease_is_given_back() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut holders = Holders::new("me");
        holders.note(found(&[("me", 1), ("a", 2), ("b", 3)]), at(0));
        assert_eq!(holders.share(10, at(0)), 4);
        assert_eq!(holders.settled_share(10, at(0)), 10, "both have just come");
        for (ms, own) in [(1000, 4), (2000, 5), (3999, 6)] {
            holders.note(found(&[("me", own), ("a", 2), ("b", own + 10)]), at(ms));
            assert!(!holders.has_dead(at(ms)));
        }
        assert!(holders.is_dead("a", at(4000)) && !holders.is_dead("b", at(4000)));
        assert_eq!(holders.share(10, at(4000)), 5);
        assert_eq!(holders.settled_share(10, at(6000)), 5);

        holders.note(found(&[("me", 7), ("a", 2)]), at(5000));
        assert!(holders.has_leaving(at(5000)) && !holders.is_dead("b", at(5000)));
        holders.note(found(&[("me", 8)]), at(6000));
        assert!(
            !holders.is_dead("a", at(6000)),
            "its leases have ended, too"
        );
        assert!(holders.is_dead("b", at(5000) + LEAVE_MAX));
        assert_eq!(holders.share(10, at(6000)), 10);
    }

    #[test]
    fn silence_says_nothing_while_nobody_can_be_asked() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut holders = Holders::new("me");
        holders.note(found(&[("a", 2)]), at(0));
        holders.forgive(at(3000));
        holders.note(found(&[("a", 2)]), at(5000));
        assert!(!holders.has_dead(at(6999)) && holders.has_dead(at(7000)));
    }
}
