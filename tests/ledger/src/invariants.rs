//! What must hold, one function each. All of them give what is wrong; an empty list is the good
//! answer.

use std::{cmp::Reverse, fmt};

use crate::{Accepted, Fate, Fault, Ledgers, Sighting, windows};

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// Accepted, and neither taken by its endpoint nor among the dead letters.
    Lost(u64, Accepted),
    /// At an endpoint that it is not for.
    Crossed(Sighting),
    /// At an endpoint, though nobody offered it.
    Stranger(Sighting),
    /// Taken again though no fault explains it.
    Unexplained(Duplicate),
    /// More taken twice for this fault than the node may have had under way.
    TooManyDuplicates(Fault, usize, usize),
    /// Webhook id or body differ from the first attempt's.
    Changed(Sighting),
    /// Over in the streams, but the audit does not tell its end.
    Unrecorded(u64, Option<Fate>),
    /// The audit tells another end than the endpoint saw.
    Misrecorded(u64, Fate),
    /// The audit has this many answered attempts, the endpoint answered so many.
    AttemptsDiffer(u64, u32, u32),
    /// Work is left in the streams at the end.
    Unsettled(u64),
    /// More attempts than the schedule has.
    TooManyAttempts(u64, u32),
    /// More requests under way at an endpoint than its limit.
    TooManyUnderWay(Sighting),
    /// More in a window than the limit: endpoint, its begin, count, most.
    TooFast(u32, u64, usize, usize),
    /// A log has what must not be in it: which log, and what.
    Spoke(String, String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A message that an endpoint took, and took again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Duplicate {
    /// Its number.
    pub id: u64,
    /// When it was taken before.
    pub before: u64,
    /// When it was taken again.
    pub again: u64,
}

/// How long after an attempt a fault may still cause its repetition: until the attempt is settled.
/// And how much later than the fault a request may be seen that was sent before it.
#[derive(Debug, Clone, Copy)]
pub struct Reach {
    /// From the request to its message's acknowledgement.
    pub settle: u64,
    /// From the socket to the book.
    pub notice: u64,
}

/// **1** What was accepted is taken by its endpoint in the end, or among the dead letters with a
/// reason.
pub fn no_loss(ledgers: &Ledgers) -> Vec<Violation> {
    let lost = ledgers
        .outstanding()
        .into_iter()
        .map(|id| Violation::Lost(id, ledgers.accepted[&id]));
    let silent = ledgers
        .dead
        .iter()
        .filter(|(id, dead)| dead.reason.is_empty() && ledgers.accepted.contains_key(id));
    let silent = silent.map(|(id, _)| Violation::Lost(*id, ledgers.accepted[id]));
    lost.chain(silent).collect()
}

/// Sightings at an endpoint that the message is not for.
pub fn crossings(ledgers: &Ledgers) -> Vec<Sighting> {
    let elsewhere = |one: &&Sighting| {
        ledgers
            .offered
            .get(&one.id)
            .is_some_and(|endpoint| *endpoint != one.endpoint)
    };
    ledgers
        .sightings
        .iter()
        .filter(elsewhere)
        .copied()
        .collect()
}

/// **2** Nothing comes to an endpoint that is not for it.
pub fn no_crossing(ledgers: &Ledgers) -> Vec<Violation> {
    let strangers = ledgers
        .sightings
        .iter()
        .filter(|one| !ledgers.offered.contains_key(&one.id));
    let strangers = strangers.copied().map(Violation::Stranger);
    crossings(ledgers)
        .into_iter()
        .map(Violation::Crossed)
        .chain(strangers)
        .collect()
}

/// Each time that an endpoint took what it had taken before.
pub fn duplicates(ledgers: &Ledgers) -> Vec<Duplicate> {
    let mut found = Vec::new();
    for (id, sightings) in ledgers.by_id() {
        let taken: Vec<_> = sightings
            .iter()
            .filter(|one| one.taken())
            .map(|one| one.at)
            .collect();
        found.extend(taken.windows(2).map(|pair| Duplicate {
            id,
            before: pair[0],
            again: pair[1],
        }));
    }
    found
}

/// How many duplicates each fault explains, and those that none does. A fault explains a duplicate
/// if it fell between an earlier attempt of the message and the end of that attempt's settling; of
/// several, the one nearest to the attempt, and the latest of those. If there is none, the last
/// fault between the message's acceptance and its first attempt explains it: the node may have put
/// it off, and died before it could say so.
pub fn by_fault(ledgers: &Ledgers, reach: Reach) -> (Vec<usize>, Vec<Duplicate>) {
    let mut counts = vec![0; ledgers.faults.len()];
    let mut unexplained = Vec::new();
    let sightings = ledgers.by_id();
    for duplicate in duplicates(ledgers) {
        let earlier = sightings[&duplicate.id]
            .iter()
            .filter(|one| one.at < duplicate.again);
        let distances = earlier.flat_map(|one| {
            let before = ledgers
                .faults
                .iter()
                .enumerate()
                .filter(|(_, fault)| fault.at <= duplicate.again);
            before.filter_map(|(place, fault)| {
                Some((distance(fault, one.at, reach)?, Reverse(place)))
            })
        });
        let unsettled = distances.min().map(|(_, Reverse(fault))| fault);
        let first = sightings[&duplicate.id][0].at;
        let accepted = ledgers
            .accepted
            .get(&duplicate.id)
            .map_or(0, |accepted| accepted.at);
        let put_off = || {
            ledgers
                .faults
                .iter()
                .rposition(|fault| (accepted..=first).contains(&fault.at))
        };
        match unsettled.or_else(put_off) {
            Some(fault) => counts[fault] += 1,
            None => unexplained.push(duplicate),
        }
    }
    (counts, unexplained)
}

/// How far a fault is from an attempt that it may have left unsettled; `None`: too far.
fn distance(fault: &Fault, attempt: u64, reach: Reach) -> Option<u64> {
    let reaches = fault.at <= attempt + reach.settle && attempt <= fault.until + reach.notice;
    reaches.then(|| {
        fault
            .at
            .saturating_sub(attempt)
            .max(attempt.saturating_sub(fault.until))
    })
}

/// **3** Nothing is taken twice without a fault, and for each fault at most what was under way
/// then.
pub fn bounded_duplicates(ledgers: &Ledgers, under_way: usize, reach: Reach) -> Vec<Violation> {
    let (counts, unexplained) = by_fault(ledgers, reach);
    let too_many = ledgers
        .faults
        .iter()
        .zip(counts)
        .filter(|(_, count)| *count > under_way);
    let too_many =
        too_many.map(|(fault, count)| Violation::TooManyDuplicates(*fault, count, under_way));
    too_many
        .chain(unexplained.into_iter().map(Violation::Unexplained))
        .collect()
}

/// **4** Webhook id and body are the same over all attempts.
pub fn sameness(ledgers: &Ledgers) -> Vec<Violation> {
    let mut found = Vec::new();
    for sightings in ledgers.by_id().into_values() {
        let changed = sightings.iter().filter(|one| one.same != sightings[0].same);
        found.extend(changed.copied().map(Violation::Changed));
    }
    found
}

/// **5** The audit tells what endpoints saw: delivered what was taken, failed what is dead and was
/// never taken. Without a fault it has each answered attempt, otherwise no more of them than were
/// answered.
pub fn record(ledgers: &Ledgers) -> Vec<Violation> {
    let mut found = Vec::new();
    let sightings = ledgers.by_id();
    for (id, recorded) in &ledgers.recorded {
        let seen = sightings.get(id).map_or(&[][..], |all| &all[..]);
        let taken = seen.iter().any(Sighting::taken);
        let fits = match recorded.fate {
            Fate::Delivered => taken,
            // A second copy of what was taken may have been refused.
            Fate::Failed => ledgers.dead.contains_key(id),
            Fate::Open => true,
        };
        if !fits {
            found.push(Violation::Misrecorded(*id, recorded.fate));
        }
        let answered =
            u32::try_from(seen.iter().filter(|one| one.status != 0).count()).unwrap_or(u32::MAX);
        if recorded.answered > answered
            || (ledgers.faults.is_empty() && recorded.answered < answered)
        {
            found.push(Violation::AttemptsDiffer(*id, recorded.answered, answered));
        }
    }
    found
}

/// **6** Nothing is settled before its result is durable: with this many messages left in the
/// streams, none, the audit tells the end of everything that was accepted.
pub fn durability(ledgers: &Ledgers, left: u64) -> Vec<Violation> {
    let mut found: Vec<_> = (left > 0)
        .then_some(Violation::Unsettled(left))
        .into_iter()
        .collect();
    for id in ledgers.accepted.keys() {
        let fate = ledgers.recorded.get(id).map(|recorded| recorded.fate);
        if !matches!(fate, Some(Fate::Delivered | Fate::Failed)) {
            found.push(Violation::Unrecorded(*id, fate));
        }
    }
    found
}

/// **7** No more attempts than the schedule has (in the audit, where a repetition after a fault has
/// the same number), and no more requests under way at an endpoint than `under_way` allows at that
/// time.
pub fn bounds(
    ledgers: &Ledgers,
    attempts: u32,
    under_way: impl Fn(&Sighting) -> u32,
) -> Vec<Violation> {
    let many = ledgers
        .recorded
        .iter()
        .filter(|(_, recorded)| recorded.attempts > attempts);
    let many = many.map(|(id, recorded)| Violation::TooManyAttempts(*id, recorded.attempts));
    let crowds = ledgers
        .sightings
        .iter()
        .filter(|one| one.under_way > under_way(one));
    many.chain(crowds.copied().map(Violation::TooManyUnderWay))
        .collect()
}

/// **9** No log says what people wrote, who they are, or where it goes. `secrets` are texts to look
/// for.
pub fn silence<'a>(
    logs: impl IntoIterator<Item = (&'a str, &'a str)>,
    secrets: &[String],
) -> Vec<Violation> {
    let mut found = Vec::new();
    for (name, text) in logs {
        let spoken = secrets
            .iter()
            .filter(|secret| text.contains(secret.as_str()));
        found.extend(spoken.map(|secret| Violation::Spoke(name.to_owned(), secret.clone())));
    }
    found
}

/// The rate: no window of `length` at `endpoint` holds more than `most` says for its begin.
pub fn rate(
    ledgers: &Ledgers,
    endpoint: u32,
    length: u64,
    most: impl Fn(u64) -> usize,
) -> Vec<Violation> {
    let at = ledgers
        .sightings
        .iter()
        .filter(|one| one.endpoint == endpoint)
        .map(|one| one.at);
    let mut times: Vec<u64> = at.collect();
    times.sort_unstable();
    let overfull = windows::overfull(&times, length, &most);
    overfull
        .into_iter()
        .map(|(begin, count)| Violation::TooFast(endpoint, begin, count, most(begin)))
        .collect()
}

#[cfg(test)]
mod tests;
