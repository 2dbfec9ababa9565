//! SIGSTOP, and SIGCONT once another has taken over.

use std::time::Duration;

use tokio::time::sleep;

use super::{all, mixed};
use crate::run::{Expect, Run};

/// Longer than a node counts as alive without a sign of life (5 s) and than `bus.ack_wait` (16 s):
/// all that it had is with another when it wakes.
const STOPPED: Duration = Duration::from_secs(18);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_sleeps_through_its_lease_loses_nothing() {
    let wanted = mixed();
    let mut run = Run::start("pause", 2, &wanted).await;
    let load = run
        .publisher
        .start(run.seed, all(&wanted), 100.0 / wanted.len() as f64);
    let place = run.fleet.delivering(run.seed).await;
    sleep(Duration::from_secs(1)).await;
    run.crash();
    run.fleet.deliver[place].process.signal("STOP").await;
    sleep(STOPPED).await;
    run.fleet.deliver[place].process.signal("CONT").await;
    // What it does when it wakes is the fault's, too.
    let until = run.clock().now() + 1_000_000;
    run.faults.last_mut().expect("noted above").until = until;
    run.crashes.push(until - 1_000_000);
    sleep(Duration::from_secs(3)).await;
    load.stop().await;
    // What was under way when it stopped is delivered by another, and may go on here when it wakes:
    // how much is printed.
    let expect = Expect {
        duplicates_per_fault: None,
        quiet_within: Duration::from_secs(60),
        ..Expect::default()
    };
    run.end(&expect, &[]).await;
}
