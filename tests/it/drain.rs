//! Stopping: the delay and the deadline after it.

use std::time::{Duration, Instant};

use crate::support::{app::App, receiver::Receiver};

const PHONE: &str = "4915112345678";

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_delay_longer_than_the_deadline_leaves_the_whole_deadline() {
    let mut app = App::with(&[
        ("DELIVER__TIMEOUT", "1s"),
        ("NODE__DRAIN_DELAY", "8s"),
        ("NODE__DRAIN_DEADLINE", "7s"),
    ])
    .await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    client.register(PHONE, &receiver.url("/")).await;
    let asked = Instant::now();
    let during_the_delay = async {
        client.publish(PHONE, "M1").await;
        receiver.wait_for(1).await;
    };
    let (code, ()) = tokio::join!(app.terminate(), during_the_delay);
    assert_eq!(code, Some(0));
    assert!(
        asked.elapsed() >= Duration::from_secs(8),
        "{:?}",
        asked.elapsed()
    );
}
