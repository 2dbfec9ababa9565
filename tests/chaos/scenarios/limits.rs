//! An endpoint's rate, whichever node delivers.

use std::time::Duration;

use ledger::windows;
use serde_json::json;
use tokio::time::sleep;

use super::UNLIMITED;
use crate::{
    farm::Manner,
    fleet::IN_FLIGHT_MAX,
    run::{Expect, Limit, PARTITIONS, Run, Wanted, micros},
};

const RATE: u32 = 50;
const BURST: u32 = 10;
/// Endpoints that are limited; the other partitions have one each that is not.
const LIMITED: u32 = 4;
/// What each of them is offered per second: more than it may get.
const OFFERED: f64 = 60.0;

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_keep_an_endpoints_rate_while_nodes_come_go_and_die() {
    limits("limits of two", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn four_nodes_keep_an_endpoints_rate_while_nodes_come_go_and_die() {
    limits("limits of four", 4).await;
}

async fn limits(scenario: &'static str, nodes: usize) {
    let wanted = |number| {
        let (rate_per_second, burst) = if number < LIMITED {
            (RATE, BURST)
        } else {
            (UNLIMITED, UNLIMITED)
        };
        Wanted {
            manner: Manner::Well { within_ms: 5 },
            rate_per_second,
            burst,
            is_ordered: false,
        }
    };
    let wanted: Vec<_> = (0..u32::from(PARTITIONS)).map(wanted).collect();
    let mut run = Run::start(scenario, nodes, &wanted).await;
    let limited = run
        .publisher
        .start(run.seed, (0..LIMITED).collect(), OFFERED);
    let others = run.publisher.start(
        run.seed + 1,
        (LIMITED..u32::from(PARTITIONS)).collect(),
        2.0,
    );
    nodes_come_and_go(&mut run).await;
    limited.stop().await;
    others.stop().await;

    let crash = *run.crashes.last().expect("noted above");
    let most = (RATE + BURST) as usize;
    let limits = (0..LIMITED)
        .map(|endpoint| Limit { endpoint, most })
        .collect();
    let expect = Expect {
        duplicates_per_fault: Some(IN_FLIGHT_MAX),
        limits,
        quiet_within: Duration::from_secs(90),
    };
    let sightings = run.farm.sightings();
    let fullest = |when: &dyn Fn(u64) -> bool| {
        let of = |endpoint| {
            let times = sightings
                .iter()
                .filter(|one| one.endpoint == endpoint && when(one.at))
                .map(|one| one.at);
            let mut times: Vec<u64> = times.collect();
            times.sort_unstable();
            windows::fullest(&times, 1_000_000).0
        };
        (0..LIMITED).map(of).max().unwrap_or(0)
    };
    let after = |at| at >= crash && at < crash + micros(crate::run::AFTER_CRASH);
    let more = [
        ("nodes", json!(nodes)),
        ("most_allowed", json!(most)),
        ("most_per_second", json!(fullest(&|at| !after(at)))),
        ("most_per_second_after_the_crash", json!(fullest(&after))),
    ];
    run.end(&expect, &more).await;
}

/// Two nodes join and two end, and then one dies.
async fn nodes_come_and_go(run: &mut Run) {
    run.fleet.delivering(run.seed).await;
    sleep(Duration::from_secs(4)).await;
    for _ in 0..2 {
        run.fleet.join().await;
        sleep(Duration::from_secs(3)).await;
        let place = run.fleet.delivering(run.seed).await;
        assert_eq!(
            run.fleet.terminate(place).await,
            Some(0),
            "a clean end\n{}",
            run.fleet.last_words()
        );
        sleep(Duration::from_secs(2)).await;
    }
    let place = run.fleet.delivering(run.seed).await;
    run.crash();
    run.fleet.kill(place).await;
    sleep(Duration::from_secs(13)).await;
}
