//! SIGKILL of nats-server.

use std::time::Duration;

use ledger::Fault;
use serde_json::json;
use tokio::time::sleep;

use super::{all, mixed};
use crate::{
    fleet::IN_FLIGHT_MAX,
    run::{Expect, Run},
};

const NODES: usize = 2;
const PER_SECOND: usize = 200;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_nats_server_loses_nothing() {
    let wanted = mixed();
    let mut run = Run::start("broker", NODES, &wanted).await;
    let load = run.publisher.start(
        run.seed,
        all(&wanted),
        PER_SECOND as f64 / wanted.len() as f64,
    );
    for away in [Duration::ZERO, Duration::from_secs(3)] {
        run.fleet.delivering(run.seed).await;
        sleep(Duration::from_millis(700)).await;
        run.fault();
        run.fleet.nats().stop().await;
        sleep(away).await;
        run.fleet.nats().start_again().await;
        let until = run.clock().now();
        run.faults.last_mut().expect("noted above").until = until;
    }
    run.fleet.delivering(run.seed).await;
    sleep(Duration::from_secs(1)).await;
    load.stop().await;
    // From the server's return until something is accepted, and until something is delivered.
    let accepted: Vec<u64> = run
        .publisher
        .done()
        .await
        .accepted
        .values()
        .map(|one| one.at)
        .collect();
    let seen: Vec<u64> = run.farm.sightings().iter().map(|one| one.at).collect();
    let back = |times: &[u64]| -> Vec<f64> {
        let first = |fault: &Fault| {
            times
                .iter()
                .filter(|at| **at > fault.until)
                .map(|at| at - fault.until)
                .min()
        };
        run.faults
            .iter()
            .filter_map(first)
            .map(|micros| (micros / 10_000) as f64 / 100.0)
            .collect()
    };
    let more = [
        ("accepting_again_s", json!(back(&accepted))),
        ("delivering_again_s", json!(back(&seen))),
    ];
    // Beside what was under way, the server may forget the acknowledgements of the last moments: it
    // writes them down ten times a second.
    let duplicates_per_fault = Some(NODES * IN_FLIGHT_MAX + PER_SECOND / 2);
    run.end(
        &Expect {
            duplicates_per_fault,
            quiet_within: Duration::from_secs(90),
            ..Expect::default()
        },
        &more,
    )
    .await;
}
