//! SIGKILL of nats-server.

use std::time::Duration;

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
    let load = run.publisher.start(run.seed, all(&wanted), PER_SECOND as f64 / wanted.len() as f64);
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
    // Beside what was under way, the server may forget the acknowledgements of the last moments: it writes them down
    // ten times a second.
    let duplicates_per_fault = Some(NODES * IN_FLIGHT_MAX + PER_SECOND / 2);
    run.end(&Expect { duplicates_per_fault, quiet_within: Duration::from_secs(90), ..Expect::default() }, &[]).await;
}
