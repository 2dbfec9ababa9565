//! SIGKILL of deliver nodes, again and again.

use std::time::Duration;

use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::time::sleep;

use super::{all, mixed};
use crate::{
    fleet::IN_FLIGHT_MAX,
    run::{Expect, Run},
};

/// Kills in `make test`; `CHAOS_KILLS` sets another number.
const KILLS: u32 = 20;
const NODES: usize = 3;
const PER_SECOND: f64 = 150.0;

#[tokio::test(flavor = "multi_thread")]
async fn killed_deliver_nodes_lose_nothing_and_double_at_most_what_was_under_way() {
    let kills = std::env::var("CHAOS_KILLS")
        .map_or(KILLS, |text| text.parse().expect("CHAOS_KILLS is a number"));
    let wanted = mixed();
    let mut run = Run::start("kills", NODES, &wanted).await;
    let mut chance = StdRng::seed_from_u64(run.seed);
    let load = run
        .publisher
        .start(run.seed, all(&wanted), PER_SECOND / wanted.len() as f64);
    for _ in 0..kills {
        // Killing a node that has nothing to do would show nothing.
        let place = run.fleet.delivering(chance.random()).await;
        sleep(Duration::from_millis(chance.random_range(0..600))).await;
        run.crash();
        run.fleet.kill_and_restart(place).await;
    }
    load.stop().await;
    let quiet_within = Duration::from_secs(90);
    let expect = Expect {
        duplicates_per_fault: Some(IN_FLIGHT_MAX),
        quiet_within,
        ..Expect::default()
    };
    let ledgers = run.end(&expect, &[]).await;
    assert_eq!(ledgers.faults.len(), kills as usize);
    assert!(!ledgers.dead.is_empty(), "two endpoints refuse everything");
}
