//! What a killed node had goes to another.

use std::{collections::BTreeMap, time::Duration};

use serde_json::json;
use tokio::time::sleep;

use super::UNLIMITED;
use crate::{
    farm::Manner,
    fleet::IN_FLIGHT_MAX,
    run::{AFTER_CRASH, Expect, PARTITIONS, Run, Wanted, micros},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_nodes_partitions_are_delivered_by_another_within_ten_seconds() {
    // An endpoint per partition.
    let wanted = [Wanted {
        manner: Manner::Well { within_ms: 10 },
        rate_per_second: UNLIMITED,
        burst: UNLIMITED,
        is_ordered: false,
    }; PARTITIONS as usize];
    let mut run = Run::start("moves", 2, &wanted).await;
    let load = run.publisher.start(run.seed, super::all(&wanted), 10.0);
    let place = run.fleet.delivering(run.seed).await;
    sleep(Duration::from_secs(2)).await;
    let killed_at = run.clock().now();
    run.crash();
    run.fleet.kill(place).await;
    sleep(AFTER_CRASH + Duration::from_secs(2)).await;
    load.stop().await;

    let expect = Expect {
        duplicates_per_fault: Some(IN_FLIGHT_MAX),
        quiet_within: Duration::from_secs(45),
        ..Expect::default()
    };
    let sightings = run.farm.sightings();
    let accepted = run.publisher.done().await.accepted.clone();
    let mut moved: BTreeMap<u32, u64> = BTreeMap::new();
    for one in sightings.iter().filter(|one| one.taken()) {
        if accepted
            .get(&one.id)
            .is_some_and(|accepted| accepted.at > killed_at)
        {
            let first = moved.entry(one.endpoint).or_insert(one.at);
            *first = one.at.min(*first);
        }
    }
    let slowest = moved.values().max().map_or(u64::MAX, |at| at - killed_at);
    let more = [
        ("moved_s", json!(slowest as f64 / 1e6)),
        ("partitions", json!(moved.len())),
    ];
    let seed = run.seed;
    run.end(&expect, &more).await;
    assert_eq!(
        moved.len(),
        usize::from(PARTITIONS),
        "CHAOS_SEED={seed}: fresh messages of these came: {moved:?}"
    );
    assert!(
        slowest <= micros(AFTER_CRASH),
        "CHAOS_SEED={seed}: the last partition took {slowest} µs"
    );
}
