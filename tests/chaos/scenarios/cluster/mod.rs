//! Three servers from `nats/cluster.conf`, each role a process of its own under its own user, and
//! faults of servers and processes one after the other, under load with and without chat order.

mod faults;
mod table;

use std::{io::Write as _, time::Duration};

use ledger::Ledgers;
use serde_json::json;
use tokio::time::sleep;

use super::{
    UNLIMITED,
    order::{Overtaken, overtaken},
};
use crate::{
    farm::Manner,
    fleet::{Fleet, IN_FLIGHT_MAX},
    run::{Expect, Run, Wanted, micros},
};
use faults::Kind;
use table::{Row, rows};

const NODES: usize = 2;
/// Endpoints without order, and with it: one of each for each partition.
const UNORDERED: usize = 8;
const ORDERED: usize = 8;
/// Offered to all endpoints without order together.
const PER_SECOND: f64 = 60.0;
/// Chats of each endpoint with order, and what each gets a second.
const CHATS: u64 = 2;
const CHAT_PER_SECOND: f64 = 2.0;
/// After a fault, before the next one: so long, and until hardly anything waits, so that each line
/// of the table is its own fault's.
const REST: Duration = Duration::from_secs(5);
const WAITING_MAX: u64 = 64;
const WORKED_OFF_WITHIN: Duration = Duration::from_secs(60);
/// From a request to the acknowledgement of its message, while servers elect leaders: what is
/// acknowledged meanwhile may be forgotten.
const SETTLED_WITHIN: u64 = 5;

/// `CHAOS_FAULTS=all`, or so many of them; a few by default.
fn chosen() -> Vec<Kind> {
    let wanted = std::env::var("CHAOS_FAULTS").unwrap_or_default();
    let count = match wanted.as_str() {
        "" => Kind::QUICK,
        "all" => Kind::ALL.len(),
        // For trying out one of them.
        name => {
            let named = Kind::ALL
                .into_iter()
                .filter(|kind| kind.name().contains(name));
            return named.collect();
        }
    };
    Kind::ALL[..count].to_vec()
}

fn wanted() -> Vec<Wanted> {
    let unordered = (0..UNORDERED).map(|number| Wanted {
        manner: match number % 4 {
            0 => Manner::Flaky {
                within_ms: 40,
                percent: 15,
            },
            _ => Manner::Well { within_ms: 40 },
        },
        rate_per_second: UNLIMITED,
        burst: UNLIMITED,
        is_ordered: false,
    });
    let ordered = Wanted {
        manner: Manner::Well { within_ms: 20 },
        rate_per_second: UNLIMITED,
        burst: UNLIMITED,
        is_ordered: true,
    };
    unordered.chain([ordered; ORDERED]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_under_faults_loses_nothing_and_keeps_chats_in_order() {
    let kinds = chosen();
    let mut run = Run::start_with("cluster", Fleet::start_on_three(NODES), &wanted()).await;
    let unordered = (0..).take(UNORDERED).collect();
    let each = PER_SECOND / UNORDERED as f64;
    let load = run.publisher.start(run.seed, unordered, each);
    let ordered = (0..).skip(UNORDERED).take(ORDERED).collect();
    let talk = run.publisher.talk(ordered, CHATS, CHAT_PER_SECOND);
    run.fleet.delivering(run.seed).await;
    for kind in &kinds {
        run.crash();
        kind.happen(&mut run).await;
        let until = run.clock().now();
        run.faults.last_mut().expect("noted above").until = until;
        run.crashes.push(until);
        sleep(REST).await;
        run.worked_off(WAITING_MAX, WORKED_OFF_WITHIN).await;
    }
    load.stop().await;
    let chats = talk.stop().await;

    let per_second = PER_SECOND + (ORDERED as u64 * CHATS) as f64 * CHAT_PER_SECOND;
    let forgotten = SETTLED_WITHIN as usize * per_second as usize;
    let expect = Expect {
        duplicates_per_fault: Some(NODES * IN_FLIGHT_MAX + forgotten),
        quiet_within: Duration::from_secs(240),
        ..Expect::default()
    };
    let violations = run.fleet.three().violations();
    let seed = run.seed;
    let more = [
        ("faults", json!(kinds.len())),
        ("chats", json!(chats.len())),
    ];
    let ledgers = run.end(&expect, &more).await;

    let reach = ledger::invariants::Reach {
        settle: micros(Duration::from_secs(2)),
        notice: micros(Duration::from_millis(500)),
    };
    let (doubled, _) = ledger::invariants::by_fault(&ledgers, reach);
    let mut late = overtaken(&ledgers, &chats);
    let names = kinds.iter().map(|kind| kind.name()).collect();
    let rows = rows(&ledgers, names, &doubled, &late);
    let mut out = std::io::stdout();
    let _ = writeln!(out, "{}", Row::head());
    for row in &rows {
        let _ = writeln!(out, "{row}");
    }
    late.retain(|one| breaks_a_promise(one, &ledgers, &kinds));
    let late: Vec<u64> = late.iter().map(|one| one.early).collect();
    // Beside other scenarios a hand-over may break the order: docs/guarantees.md, "Not yet".
    let runs_alone = std::env::var_os("CHAOS_FAULTS").is_some();
    assert!(
        late.is_empty() || !runs_alone,
        "CHAOS_SEED={seed}: out of order at a clean hand-over: {late:?}"
    );
    assert!(violations.is_empty(), "CHAOS_SEED={seed}: {violations:#?}");
}

/// Whether it was overtaken at a clean hand-over. Of the other faults it is printed.
fn breaks_a_promise(one: &Overtaken, ledgers: &Ledgers, kinds: &[Kind]) -> bool {
    let kills = kinds.iter().zip(&ledgers.faults);
    let mut kills = kills.filter(|(kind, _)| !kind.keeps_order());
    if kills.any(|(_, kill)| one.is_of(kill)) {
        return false;
    }
    let accepted = ledgers.accepted[&one.early].at;
    let before = ledgers.faults.iter().filter(|fault| fault.at <= accepted);
    // None of them: the nodes were being started (docs/guarantees.md, "Not yet").
    let during = before.count().checked_sub(1).map(|place| kinds[place]);
    during.is_some_and(Kind::is_clean_handover)
}
