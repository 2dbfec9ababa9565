//! SIGKILL of deliver nodes under chats in order, with failures: no chat stands still, and none is
//! out of order but for what a killed node had in hand.

use std::{collections::BTreeMap, time::Duration};

use ledger::{Fault, Ledgers};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::json;
use tokio::time::sleep;

use super::UNLIMITED;
use crate::{
    farm::Manner,
    fleet::IN_FLIGHT_MAX,
    run::{Expect, Run, Wanted, micros},
};

const KILLS: u32 = 10;
const NODES: usize = 2;
const ENDPOINTS: usize = 8;
/// Chats of each endpoint, and what each gets a second.
const CHATS: u64 = 3;
const PER_SECOND: f64 = 2.0;
/// `bus.ack_wait` of the fleet, and the time that a busy machine takes to hand out what it was
/// asked for, and to see it.
const HANDED_OUT_AGAIN: Duration = Duration::from_secs(16 + 14);

/// A message that a later one of its chat was seen before.
pub(super) struct Overtaken {
    pub(super) early: u64,
    late: u64,
    accepted: u64,
    seen: u64,
}

impl Overtaken {
    /// A kill explains that a message is late if it was accepted before the kill, was not seen
    /// until then, and came once the server had handed it out again.
    pub(super) fn is_of(&self, kill: &Fault) -> bool {
        let Self { accepted, seen, .. } = *self;
        accepted <= kill.at && kill.at <= seen && seen <= kill.at + micros(HANDED_OUT_AGAIN)
    }
}

/// All of them.
pub(super) fn overtaken(ledgers: &Ledgers, chats: &BTreeMap<u64, Vec<u64>>) -> Vec<Overtaken> {
    let mut first: BTreeMap<u64, u64> = BTreeMap::new();
    for one in &ledgers.sightings {
        let at = first.entry(one.id).or_insert(one.at);
        *at = one.at.min(*at);
    }
    let mut all = Vec::new();
    for ids in chats.values() {
        for (place, early) in ids.iter().enumerate() {
            let Some(seen) = first.get(early) else {
                continue;
            };
            let Some(accepted) = ledgers.accepted.get(early) else {
                continue;
            };
            let is_before = |late: &&u64| first.get(late).is_some_and(|at| at < seen);
            let late = ids[place + 1..].iter().find(is_before);
            all.extend(late.map(|late| Overtaken {
                early: *early,
                late: *late,
                accepted: accepted.at,
                seen: *seen,
            }));
        }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_nodes_stop_no_chat_and_reorder_only_what_was_in_flight() {
    let manner = Manner::Flaky {
        within_ms: 20,
        percent: 15,
    };
    let wanted = [Wanted {
        manner,
        rate_per_second: UNLIMITED,
        burst: UNLIMITED,
        is_ordered: true,
    }; ENDPOINTS];
    let mut run = Run::start("order", NODES, &wanted).await;
    let mut chance = StdRng::seed_from_u64(run.seed);
    let talk = run
        .publisher
        .talk((0..).take(ENDPOINTS).collect(), CHATS, PER_SECOND);
    for _ in 0..KILLS {
        let place = run.fleet.delivering(chance.random()).await;
        sleep(Duration::from_millis(chance.random_range(500..3_000))).await;
        run.crash();
        run.fleet.kill_and_restart(place).await;
    }
    let chats = talk.stop().await;
    let duplicates_per_fault = Some(IN_FLIGHT_MAX);
    let expect = Expect {
        duplicates_per_fault,
        quiet_within: Duration::from_secs(150),
        ..Expect::default()
    };
    let seed = run.seed;
    let more = [("chats", json!(chats.len()))];
    let ledgers = run.end(&expect, &more).await;
    assert_eq!(ledgers.faults.len(), KILLS as usize);
    let failed = ledgers
        .sightings
        .iter()
        .filter(|one| one.status == 503)
        .count();
    assert!(
        failed > 20,
        "CHAOS_SEED={seed}: only {failed} attempts failed"
    );
    let mut pairs = overtaken(&ledgers, &chats);
    println!(
        "order: {} messages in {} chats, {failed} failed attempts, {} overtaken",
        ledgers.accepted.len(),
        chats.len(),
        pairs.len()
    );
    pairs.retain(|pair| !ledgers.faults.iter().any(|kill| pair.is_of(kill)));
    let unexplained: Vec<_> = pairs.iter().map(|pair| (pair.early, pair.late)).collect();
    assert!(
        unexplained.is_empty(),
        "CHAOS_SEED={seed}: out of order without a kill: {unexplained:?}"
    );
}
