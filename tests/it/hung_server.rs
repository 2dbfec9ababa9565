//! A nats-server that hangs: the kernel takes its connections, and nothing answers.

use std::time::{Duration, Instant};

use wahook::bus::Bus;

use crate::support::{
    app::{App, eventually, http_client},
    nats::NatsServer,
};

/// A server that hangs is left within five seconds; this leaves time for a busy machine.
const LEFT_AFTER_MAX: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_is_left_for_another_of_the_list() {
    // The bucket of webhooks tells the two apart: each was made at its own time.
    let servers = [NatsServer::start().await, NatsServer::start().await];
    let mut made_at = Vec::new();
    for server in &servers {
        let bus = server.bus().await;
        let newest = bus.read_clock().await.expect("answers");
        made_at.push(newest.bucket_created_at);
    }
    assert_ne!(made_at[0], made_at[1]);
    let mut config = servers[0].config();
    config.nats.url = format!("{},{}", servers[0].url(), servers[1].url());
    let bus = Bus::connect(&config.nats, &config.bus, "hung").await;
    let bus = bus.expect("connects");
    for _ in 0..2 {
        let connected = bus.read_clock().await.expect("answers").bucket_created_at;
        let index = usize::from(connected == made_at[1]);
        servers[index].signal("STOP").await;
        let stopped_at = Instant::now();
        let other = eventually("the other server answers", async || {
            let newest = bus.read_clock().await.ok()?;
            (newest.bucket_created_at != connected).then_some(newest)
        })
        .await;
        let left_after = stopped_at.elapsed();
        servers[index].signal("CONT").await;
        assert!(left_after < LEFT_AFTER_MAX, "left after {left_after:?}");
        assert_eq!(other.bucket_created_at, made_at[1 - index]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readiness_is_red_while_the_server_hangs_and_says_so() {
    let app = App::playing("api,deliver,record", &[]).await;
    let readyz = format!("{}/readyz", app.admin);
    app.nats.signal("STOP").await;
    let stopped_at = Instant::now();
    let reason = eventually("readiness is red", async || {
        let answer = http_client().get(&readyz).send().await.ok()?;
        let is_red = answer.status().as_u16() == 503;
        let text = answer.text().await.ok()?;
        is_red.then_some(text)
    })
    .await;
    let red_after = stopped_at.elapsed();
    app.nats.signal("CONT").await;
    assert!(red_after < LEFT_AFTER_MAX, "red after {red_after:?}");
    assert!(
        reason.contains("nats-server has sent nothing") || reason.contains("not connected"),
        "{reason}"
    );
    eventually("readiness is green again", async || {
        (app.readiness().await == Some(200)).then_some(())
    })
    .await;
}
