//! SIGTERM of one of two nodes.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::{all, mixed};
use crate::run::{Expect, Run};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_leaves_under_load_loses_and_doubles_nothing() {
    let wanted = mixed();
    let mut run = Run::start("drain", 2, &wanted).await;
    let load = run
        .publisher
        .start(run.seed, all(&wanted), 200.0 / wanted.len() as f64);
    let mut left = 0;
    // The second time a node leaves that took over from the first.
    for _ in 0..2 {
        let place = run.fleet.delivering(run.seed).await;
        sleep(Duration::from_millis(500)).await;
        assert_eq!(
            run.fleet.terminate(place).await,
            Some(0),
            "a clean end\n{}",
            run.fleet.last_words()
        );
        left += 1;
        run.fleet.join().await;
    }
    sleep(Duration::from_secs(1)).await;
    load.stop().await;
    let expect = Expect {
        duplicates_per_fault: Some(0),
        quiet_within: Duration::from_secs(45),
        ..Expect::default()
    };
    run.end(&expect, &[("left", json!(left))]).await;
}
