mod changes;
mod recovery;

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::sleep;
use uuid::Uuid;

use super::{acquire::PERMIT_FRESH_FOR, backlog::Budget, *};
use crate::{
    config,
    model::{Priority, Timestamp, Webhook, WebhookId},
};

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
        memory_max: 1 << 26,
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

pub(super) fn endpoint(rate_per_second: u32, in_flight: u32) -> Arc<EndpointLimiter> {
    let webhook = webhook(rate_per_second, in_flight);
    let endpoint = EndpointLimiter::new(&webhook, &settings(), 128, Budget::default(), now(), None);
    assert!(endpoint.fits(&webhook));
    assert!(!endpoint.fits(&Webhook {
        in_flight: in_flight + 1,
        ..webhook.clone()
    }));
    assert!(!endpoint.fits(&Webhook {
        burst: Some(rate_per_second + 1),
        ..webhook.clone()
    }));
    assert!(!endpoint.fits(&Webhook {
        url: "https://example.org/".to_owned(),
        ..webhook
    }));
    Arc::new(endpoint)
}

#[tokio::test(start_paused = true)]
async fn no_more_permits_than_set_and_a_hang_parks_at_spread_slots() {
    let endpoint = endpoint(1000, 2);
    let held = [
        endpoint.acquire(Priority::Normal).await.expect("free"),
        endpoint.acquire(Priority::Normal).await.expect("free"),
    ];
    let first = endpoint
        .acquire(Priority::Normal)
        .await
        .expect_err("both are taken for longer than it waits");
    let second = endpoint.acquire(Priority::Normal).await.expect_err("still");
    assert_eq!((first.cause, second.cause), ("busy", "busy"));
    assert!(second.at > first.at, "each has a slot of its own");
    drop(held);
    assert!(
        endpoint.acquire(Priority::Normal).await.is_ok(),
        "they come back when dropped"
    );
}

#[tokio::test(start_paused = true)]
async fn a_permit_that_becomes_free_is_taken_over() {
    let endpoint = endpoint(1000, 1);
    let permit = endpoint.acquire(Priority::Normal).await.expect("free");
    let (next, _opened) = tokio::join!(endpoint.acquire(Priority::Normal), async {
        endpoint.record_result(
            permit,
            Duration::from_millis(1),
            AttemptResult::Reached,
            None,
        )
    });
    assert!(next.is_ok());
    assert_eq!(endpoint.waiters.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_used_up_rate_parks_what_would_wait_too_long() {
    let endpoint = endpoint(1, 8);
    drop(
        endpoint
            .acquire(Priority::Normal)
            .await
            .expect("the burst is one"),
    );
    let park = endpoint
        .acquire(Priority::Normal)
        .await
        .expect_err("the next permit comes in a second");
    assert_eq!(park.cause, "rate");
}

#[tokio::test(start_paused = true)]
async fn failures_open_the_breaker_and_park_beyond_it() {
    let endpoint = endpoint(1000, 8);
    for _ in 0..2 {
        let permit = endpoint.acquire(Priority::Normal).await.expect("closed");
        endpoint.record_result(
            permit,
            Duration::from_millis(1),
            AttemptResult::Failed,
            None,
        );
    }
    let park = endpoint.acquire(Priority::Normal).await.expect_err("open");
    assert_eq!(park.cause, "breaker");
    assert!(park.at > now() + Duration::from_secs(25));
}

#[test]
fn a_limiter_is_kept_while_it_remembers_something() {
    let endpoint = endpoint(50, 8);
    let later = now() + endpoint.keep + Duration::from_secs(1);
    assert!(!endpoint.idle(now()));
    assert!(endpoint.idle(later));
    endpoint.park_until_probe(endpoint.keep * 3, Priority::Normal);
    assert!(!endpoint.idle(later), "its slots reach further");
}

#[tokio::test(start_paused = true)]
async fn low_priority_leaves_half_of_the_permits_free_and_gives_way_to_waiters() {
    let endpoint = endpoint(1000, 4);
    let low = [
        endpoint.acquire(Priority::Low).await.expect("free"),
        endpoint.acquire(Priority::Low).await.expect("free"),
    ];
    let park = endpoint
        .acquire(Priority::Low)
        .await
        .expect_err("the other half is for live traffic");
    assert_eq!(park.cause, "low");
    let live = [
        endpoint.acquire(Priority::Normal).await.expect("free"),
        endpoint.acquire(Priority::Normal).await.expect("free"),
    ];
    // One waits: what becomes free is its, not that of the low one that waits longer.
    let (low_permit, normal_permit, ()) = tokio::join!(
        endpoint.acquire(Priority::Low),
        endpoint.acquire(Priority::Normal),
        async {
            tokio::task::yield_now().await;
            drop(live);
        }
    );
    assert!(normal_permit.is_ok());
    assert_eq!(
        low_permit
            .expect_err("three of four permits are taken")
            .cause,
        "low"
    );
    drop((low, normal_permit));
    assert!(endpoint.acquire(Priority::Low).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn slots_of_low_priority_push_no_others_back() {
    let endpoint = endpoint(10, 1);
    let held = endpoint.acquire(Priority::Normal).await.expect("free");
    let far = [(); 50].map(|()| endpoint.park("low", Priority::Low))[49];
    assert!(
        far.at > now() + Duration::from_secs(9),
        "spread over ten seconds"
    );
    let live = endpoint.park("busy", Priority::Normal);
    assert!(live.at < now() + Duration::from_secs(1));
    assert!(
        !endpoint.idle(far.at - Duration::from_millis(1)),
        "its slots reach further"
    );
    drop(held);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_not_made_is_left_to_the_next() {
    let mut settings = settings();
    settings.breaker_open = Duration::from_millis(20);
    let endpoint = Arc::new(EndpointLimiter::new(
        &webhook(1000, 8),
        &settings,
        128,
        Budget::default(),
        now(),
        None,
    ));
    for _ in 0..2 {
        let permit = endpoint.acquire(Priority::Normal).await.expect("closed");
        endpoint.record_result(
            permit,
            Duration::from_millis(1),
            AttemptResult::Failed,
            None,
        );
    }
    sleep(settings.breaker_open).await;
    let probe = endpoint.acquire(Priority::Normal).await.expect("half open");
    assert_eq!(
        endpoint
            .acquire(Priority::Normal)
            .await
            .expect_err("one probe only")
            .cause,
        "breaker"
    );
    drop(probe);
    let probe = endpoint
        .acquire(Priority::Normal)
        .await
        .expect("nobody probed");
    endpoint.record_result(
        probe,
        Duration::from_millis(1),
        AttemptResult::Reached,
        None,
    );
    assert!(
        endpoint.acquire(Priority::Normal).await.is_ok(),
        "well again"
    );
}

#[tokio::test(start_paused = true)]
async fn permits_that_waited_for_something_else_are_counted_again() {
    let endpoint = endpoint(2, 8);
    let permit = endpoint.acquire(Priority::Normal).await.expect("free");
    assert!(
        endpoint.recheck_rate(&permit, Priority::Normal).is_ok(),
        "used at once"
    );
    endpoint.drain(now());
    sleep(PERMIT_FRESH_FOR * 2).await;
    assert_eq!(
        endpoint
            .recheck_rate(&permit, Priority::Normal)
            .expect_err("no token is left")
            .cause,
        "rate"
    );
}

#[tokio::test(start_paused = true)]
async fn permits_taken_by_those_who_wait_for_the_rate_are_no_hang() {
    let endpoint = endpoint(50, 2);
    let now = now();
    endpoint.state().progress = now
        .checked_sub(Duration::from_secs(60))
        .expect("the machine runs for longer");
    endpoint.drain(now);
    let acquired = async || {
        endpoint
            .acquire(Priority::Normal)
            .await
            .map(drop)
            .map_err(|park| park.cause)
    };
    assert_eq!(
        tokio::join!(acquired(), acquired(), acquired()),
        (Ok(()), Ok(()), Ok(()))
    );
}
