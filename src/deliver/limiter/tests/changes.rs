//! A webhook's settings change while its limiter is in use.

use std::{sync::Arc, time::Duration};

use super::{endpoint, settings, webhook};
use crate::{
    config,
    deliver::limiter::{AttemptResult, EndpointLimiter, now},
    egress,
    model::{Priority, Webhook},
    tasks::Tasks,
};

fn changed(limiter: &EndpointLimiter, webhook: &Webhook) -> Arc<EndpointLimiter> {
    Arc::new(limiter.changed(webhook, &settings(), now(), &Tasks::default()))
}

fn is_open(limiter: &EndpointLimiter) -> bool {
    limiter.state().breaker.time_until_probe(now()).is_some()
}

#[tokio::test(start_paused = true)]
async fn other_settings_bring_neither_permits_nor_a_burst() {
    let limiter = endpoint(1000, 2);
    let held = limiter.acquire(Priority::Normal).await.expect("free");
    let same = changed(&limiter, &webhook(10, 2));
    assert_eq!(same.permits.available_permits(), 1, "one is taken");
    assert!(same.check_rate().is_err(), "no burst");
    let more = changed(&same, &webhook(10, 5));
    assert_eq!(more.permits.available_permits(), 4);
    let fewer = changed(&more, &webhook(1000, 1));
    tokio::task::yield_now().await;
    assert_eq!(
        fewer.permits.available_permits(),
        0,
        "the one that is left is taken"
    );
    drop(held);
    let free_again = fewer.acquire(Priority::Normal).await;
    assert!(free_again.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_breaker_stays_open_unless_the_address_changes() {
    let limiter = endpoint(1000, 2);
    for _ in 0..2 {
        let permit = limiter.acquire(Priority::Normal).await.expect("closed");
        limiter.record_result(permit, Duration::ZERO, AttemptResult::Failed, None);
    }
    let open = changed(&limiter, &webhook(1000, 9));
    assert!(is_open(&open));
    let elsewhere = Webhook {
        url: "https://example.org/".to_owned(),
        ..webhook(1000, 9)
    };
    assert!(!is_open(&changed(&open, &elsewhere)), "another endpoint");
}

#[test]
fn a_webhook_from_before_a_change_keeps_its_own_address() {
    let defaults = config::Config::default().egress;
    let egress = egress::Client::new(&defaults, Duration::from_secs(1), &Tasks::default())
        .expect("is set up");
    let endpoint = endpoint(50, 8);
    let same = webhook(50, 8);
    let before = Webhook {
        url: "https://example.org/".to_owned(),
        ..webhook(50, 8)
    };
    for webhook in [&same, &before, &same] {
        assert_eq!(
            endpoint.target(webhook, &egress),
            egress.target(&webhook.url),
            "{}",
            webhook.url
        );
    }
}
