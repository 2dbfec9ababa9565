//! What is noted.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
};

/// A publish that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// When its acknowledgement came.
    pub at: u64,
    /// The endpoint that it is for.
    pub endpoint: u32,
}

/// One request at an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// Where it came.
    pub endpoint: u32,
    /// The message's number.
    pub id: u64,
    /// [`fingerprint`] of what must be the same over all attempts: webhook id and body.
    pub same: u64,
    /// When it came.
    pub at: u64,
    /// What was answered; 0 when the caller went away before there was an answer.
    pub status: u16,
    /// Requests under way at this endpoint when it came, itself among them.
    pub under_way: u32,
}

impl Sighting {
    /// Whether the endpoint took it.
    pub fn taken(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// How an event stands in the audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The audit says that the endpoint took it.
    Delivered,
    /// The audit says that it was given up.
    Failed,
    /// Anything that is not the end.
    Open,
}

/// What the audit says of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// How it stands.
    pub fate: Fate,
    /// The highest attempt's number.
    pub attempts: u32,
    /// Attempts that had an answer.
    pub answered: u32,
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// Why, in the product's words.
    pub reason: String,
}

/// Something that may make a node repeat what it did: a kill, a pause, a broken connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// When it began.
    pub at: u64,
    /// Until when it may make itself felt at the endpoints, like the end of a pause; `at` for a
    /// kill.
    pub until: u64,
}

/// All books of one run.
#[derive(Debug, Clone, Default)]
pub struct Ledgers {
    /// Every message that was tried to be published, and the endpoint that it is for.
    pub offered: HashMap<u64, u32>,
    /// Those whose publish was acknowledged.
    pub accepted: HashMap<u64, Accepted>,
    /// All that endpoints saw.
    pub sightings: Vec<Sighting>,
    /// What the audit says at the end, by message.
    pub recorded: HashMap<u64, Recorded>,
    /// What is among the dead letters at the end, by message.
    pub dead: HashMap<u64, Dead>,
    /// In the order in which they were made.
    pub faults: Vec<Fault>,
}

impl Ledgers {
    /// The sightings of each message, by time.
    pub fn by_id(&self) -> BTreeMap<u64, Vec<Sighting>> {
        let mut all: BTreeMap<u64, Vec<Sighting>> = BTreeMap::new();
        for sighting in &self.sightings {
            all.entry(sighting.id).or_default().push(*sighting);
        }
        for of_one in all.values_mut() {
            of_one.sort_by_key(|sighting| sighting.at);
        }
        all
    }

    /// Accepted messages that no endpoint took and that are not among the dead letters, smallest
    /// first.
    pub fn outstanding(&self) -> Vec<u64> {
        let mut left = self.accepted.clone();
        for sighting in self.sightings.iter().filter(|sighting| sighting.taken()) {
            left.remove(&sighting.id);
        }
        let mut left: Vec<u64> = left
            .into_keys()
            .filter(|id| !self.dead.contains_key(id))
            .collect();
        left.sort_unstable();
        left
    }

    /// From each acknowledgement to the first time that the endpoint saw the message, sorted. What
    /// endpoints make of it is not the product's time.
    pub fn latencies(&self) -> Vec<u64> {
        let first = self.first(|_| true);
        let mut all: Vec<u64> = first
            .map(|(accepted, at)| at.saturating_sub(accepted.at))
            .collect();
        all.sort_unstable();
        all
    }

    /// The longest time from a fault until all that was accepted before it had been taken.
    pub fn recovery(&self) -> u64 {
        let taken: Vec<(Accepted, u64)> = self.first(Sighting::taken).collect();
        let after = |fault: &Fault| {
            let before = taken.iter().filter(|(accepted, _)| accepted.at <= fault.at);
            before
                .map(|(_, at)| at.saturating_sub(fault.at))
                .max()
                .unwrap_or(0)
        };
        self.faults.iter().map(after).max().unwrap_or(0)
    }

    /// Of each accepted message, the first of those sightings.
    fn first(&self, which: impl Fn(&Sighting) -> bool) -> impl Iterator<Item = (Accepted, u64)> {
        let mut first: HashMap<u64, u64> = HashMap::new();
        for sighting in self.sightings.iter().filter(|sighting| which(sighting)) {
            let at = first.entry(sighting.id).or_insert(sighting.at);
            *at = sighting.at.min(*at);
        }
        first
            .into_iter()
            .filter_map(|(id, at)| self.accepted.get(&id).map(|accepted| (*accepted, at)))
    }
}

/// A number that stands for these bytes.
pub fn fingerprint(parts: &[&[u8]]) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}
