use uuid::Uuid;

use super::*;
use crate::model::{Timestamp, WebhookId};

fn settings() -> config::Deliver {
    config::Deliver {
        timeout: Duration::from_secs(10),
        max_retries: 3,
        retry_base: Duration::from_secs(5),
        retry_jitter: 0.1,
        retry_max: Duration::from_secs(3600),
        rate_per_second: 50,
        in_flight: 8,
        lane_wait: Duration::from_millis(200),
        in_flight_max: 64,
        breaker_failures: 2,
        breaker_open: Duration::from_secs(30),
        disable_after: Duration::from_secs(432_000),
        retry_bytes_max: 1 << 30,
    }
}

fn webhook(rate_per_second: u32, in_flight: u32) -> Webhook {
    let id = WebhookId(Uuid::from_u128(1));
    let client = 1.try_into().expect("in range");
    let phone = "4915112345678".parse().expect("valid");
    let webhook = Webhook::new(
        id,
        client,
        phone,
        "https://example.com/".to_owned(),
        Timestamp::EPOCH,
    );
    Webhook {
        rate_per_second,
        in_flight,
        ..webhook
    }
}

fn lane(rate_per_second: u32, in_flight: u32) -> Arc<EndpointLimiter> {
    let webhook = webhook(rate_per_second, in_flight);
    let lane = EndpointLimiter::new(&webhook, &settings(), 128, Instant::now(), None);
    assert!(lane.fits(&webhook));
    assert!(!lane.fits(&Webhook {
        in_flight: in_flight + 1,
        ..webhook.clone()
    }));
    assert!(!lane.fits(&Webhook {
        burst: Some(rate_per_second + 1),
        ..webhook.clone()
    }));
    assert!(!lane.fits(&Webhook {
        url: "https://example.org/".to_owned(),
        ..webhook
    }));
    Arc::new(lane)
}

#[tokio::test]
async fn no_more_turns_than_places_and_a_hang_parks_at_spread_slots() {
    let lane = lane(1000, 2);
    let held = [
        lane.acquire(Priority::Normal).await.expect("free"),
        lane.acquire(Priority::Normal).await.expect("free"),
    ];
    let first = lane
        .acquire(Priority::Normal)
        .await
        .expect_err("both places are taken for longer than it waits");
    let second = lane.acquire(Priority::Normal).await.expect_err("still");
    assert_eq!((first.cause, second.cause), ("busy", "busy"));
    assert!(second.at > first.at, "each has a slot of its own");
    drop(held);
    assert!(
        lane.acquire(Priority::Normal).await.is_ok(),
        "places come back when turns are dropped"
    );
}

#[tokio::test]
async fn a_place_that_becomes_free_is_taken_over() {
    let lane = lane(1000, 1);
    let turn = lane.acquire(Priority::Normal).await.expect("free");
    let (next, _opened) = tokio::join!(lane.acquire(Priority::Normal), async {
        lane.record_result(turn, Duration::from_millis(1), false)
    });
    assert!(next.is_ok());
    assert_eq!(lane.waiters.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_used_up_rate_parks_what_would_wait_too_long() {
    let lane = lane(1, 8);
    drop(
        lane.acquire(Priority::Normal)
            .await
            .expect("the burst is one"),
    );
    let park = lane
        .acquire(Priority::Normal)
        .await
        .expect_err("the next turn comes in a second");
    assert_eq!(park.cause, "rate");
}

#[tokio::test]
async fn failures_open_the_breaker_and_park_beyond_it() {
    let lane = lane(1000, 8);
    for _ in 0..2 {
        let turn = lane.acquire(Priority::Normal).await.expect("closed");
        lane.record_result(turn, Duration::from_millis(1), true);
    }
    let park = lane.acquire(Priority::Normal).await.expect_err("open");
    assert_eq!(park.cause, "breaker");
    assert!(park.at > Instant::now() + Duration::from_secs(25));
}

#[test]
fn a_lane_is_kept_while_it_remembers_something() {
    let lane = lane(50, 8);
    let later = Instant::now() + lane.keep + Duration::from_secs(1);
    assert!(!lane.idle(Instant::now()));
    assert!(lane.idle(later));
    lane.postpone_after("breaker", lane.keep * 3, Priority::Normal);
    assert!(!lane.idle(later), "its slots reach further");
}

#[tokio::test]
async fn low_priority_leaves_half_of_the_places_free_and_gives_way_to_waiters() {
    let lane = lane(1000, 4);
    let low = [
        lane.acquire(Priority::Low).await.expect("free"),
        lane.acquire(Priority::Low).await.expect("free"),
    ];
    let park = lane
        .acquire(Priority::Low)
        .await
        .expect_err("the other half is for live traffic");
    assert_eq!(park.cause, "low");
    let live = [
        lane.acquire(Priority::Normal).await.expect("free"),
        lane.acquire(Priority::Normal).await.expect("free"),
    ];
    // One waits: what becomes free is its, not that of the low one that waits longer.
    let (low_turn, normal_permit, ()) = tokio::join!(
        lane.acquire(Priority::Low),
        lane.acquire(Priority::Normal),
        async {
            tokio::task::yield_now().await;
            drop(live);
        }
    );
    assert!(normal_permit.is_ok());
    assert_eq!(
        low_turn.expect_err("three of four places are taken").cause,
        "low"
    );
    drop((low, normal_permit));
    assert!(lane.acquire(Priority::Low).await.is_ok());
}

#[tokio::test]
async fn slots_of_low_priority_push_no_others_back() {
    let lane = lane(10, 1);
    let held = lane.acquire(Priority::Normal).await.expect("free");
    let far = [(); 50].map(|()| lane.park("low", Priority::Low))[49];
    assert!(
        far.at > Instant::now() + Duration::from_secs(9),
        "spread over ten seconds"
    );
    let live = lane.park("busy", Priority::Normal);
    assert!(live.at < Instant::now() + Duration::from_secs(1));
    assert!(
        !lane.idle(far.at - Duration::from_millis(1)),
        "its slots reach further"
    );
    drop(held);
}

#[tokio::test]
async fn a_probe_that_is_not_made_is_left_to_the_next() {
    let mut settings = settings();
    settings.breaker_open = Duration::from_millis(20);
    let lane = Arc::new(EndpointLimiter::new(
        &webhook(1000, 8),
        &settings,
        128,
        Instant::now(),
        None,
    ));
    for _ in 0..2 {
        let turn = lane.acquire(Priority::Normal).await.expect("closed");
        lane.record_result(turn, Duration::from_millis(1), true);
    }
    sleep(settings.breaker_open).await;
    let probe = lane.acquire(Priority::Normal).await.expect("half open");
    assert_eq!(
        lane.acquire(Priority::Normal)
            .await
            .expect_err("one probe only")
            .cause,
        "breaker"
    );
    drop(probe);
    let probe = lane.acquire(Priority::Normal).await.expect("nobody probed");
    lane.record_result(probe, Duration::from_millis(1), false);
    assert!(lane.acquire(Priority::Normal).await.is_ok(), "well again");
}

#[tokio::test]
async fn turns_that_waited_for_something_else_are_counted_again() {
    let lane = lane(2, 8);
    let turn = lane.acquire(Priority::Normal).await.expect("free");
    assert!(
        lane.recheck_rate(&turn, Priority::Normal).is_ok(),
        "used at once"
    );
    lane.drain(Instant::now());
    sleep(PERMIT_FRESH_FOR * 2).await;
    assert_eq!(
        lane.recheck_rate(&turn, Priority::Normal)
            .expect_err("no token is left")
            .cause,
        "rate"
    );
}

#[tokio::test]
async fn other_settings_bring_neither_places_nor_a_burst_nor_close_the_breaker() {
    let lane = lane(1000, 2);
    let held = lane.acquire(Priority::Normal).await.expect("free");
    let same = lane.changed(
        &webhook(10, 2),
        &settings(),
        Instant::now(),
        &Tasks::default(),
    );
    assert_eq!(same.permits.available_permits(), 1, "one is taken");
    assert!(same.limiter.check().is_err(), "no burst");
    let more = same.changed(
        &webhook(10, 5),
        &settings(),
        Instant::now(),
        &Tasks::default(),
    );
    assert_eq!(more.permits.available_permits(), 4);
    let fewer = Arc::new(more.changed(
        &webhook(1000, 1),
        &settings(),
        Instant::now(),
        &Tasks::default(),
    ));
    tokio::task::yield_now().await;
    assert_eq!(
        fewer.permits.available_permits(),
        0,
        "the one that is left is taken"
    );
    drop(held);
    let turn = fewer
        .acquire(Priority::Normal)
        .await
        .expect("its place is free again");
    lane.state().breaker.failure(Instant::now());
    fewer.state().breaker.failure(Instant::now());
    assert!(
        fewer.record_result(turn, Duration::ZERO, true),
        "the second in a row"
    );
    let open = fewer.changed(
        &webhook(1000, 9),
        &settings(),
        Instant::now(),
        &Tasks::default(),
    );
    assert!(
        open.state()
            .breaker
            .time_until_probe(Instant::now())
            .is_some()
    );
    let elsewhere = Webhook {
        url: "https://example.org/".to_owned(),
        ..webhook(1000, 9)
    };
    let elsewhere = open.changed(&elsewhere, &settings(), Instant::now(), &Tasks::default());
    assert!(
        elsewhere
            .state()
            .breaker
            .time_until_probe(Instant::now())
            .is_none(),
        "another endpoint"
    );
}

#[tokio::test]
async fn places_taken_by_those_who_wait_for_the_rate_are_no_hang() {
    let lane = lane(50, 2);
    let now = Instant::now();
    lane.state().progress = now
        .checked_sub(Duration::from_secs(60))
        .expect("the machine runs for longer");
    lane.drain(now);
    let turn = async || {
        lane.acquire(Priority::Normal)
            .await
            .map(drop)
            .map_err(|park| park.cause)
    };
    assert_eq!(
        tokio::join!(turn(), turn(), turn()),
        (Ok(()), Ok(()), Ok(()))
    );
}

#[test]
fn a_webhook_from_before_a_change_keeps_its_own_address() {
    let egress = egress::Client::new(&config::Config::default().egress, Duration::from_secs(1))
        .expect("is set up");
    let lane = lane(50, 8);
    let same = webhook(50, 8);
    let before = Webhook {
        url: "https://example.org/".to_owned(),
        ..webhook(50, 8)
    };
    for webhook in [&same, &before, &same] {
        assert_eq!(
            lane.target(webhook, &egress),
            egress.target(&webhook.url),
            "{}",
            webhook.url
        );
    }
}
