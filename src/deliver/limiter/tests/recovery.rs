//! When parked messages come back after an endpoint failed, was slow, or asked for a pause.

use std::{sync::Arc, time::Duration};

use tokio::time::advance;
use uuid::Uuid;

use super::{endpoint, settings, webhook};
use crate::{
    deliver::limiter::{AttemptResult, EndpointLimiter, Postponed, now},
    model::{EventId, Priority},
    tasks::Tasks,
};

const NORMAL: Priority = Priority::Normal;
const SECOND: Duration = Duration::from_secs(1);

async fn attempt(
    limiter: &Arc<EndpointLimiter>,
    latency: Duration,
    result: AttemptResult,
    pause: Option<Duration>,
) -> bool {
    let permit = limiter.acquire(NORMAL).await.expect("a permit");
    limiter.record_result(permit, latency, result, pause)
}

async fn reached(limiter: &Arc<EndpointLimiter>, latency: Duration) {
    attempt(limiter, latency, AttemptResult::Reached, None).await;
}

async fn open_by_time_outs(limiter: &Arc<EndpointLimiter>) {
    while !attempt(limiter, SECOND * 10, AttemptResult::Failed, None).await {}
}

/// Parks so many and remembers them, as the engine does; the last slot.
fn park(limiter: &EndpointLimiter, count: u64) -> Postponed {
    let postponed = (0..count).map(|number| {
        let postponed = limiter.park("busy", NORMAL);
        let event = EventId(Uuid::from_u128(number.into()));
        let late = limiter.remember(event, number, postponed.at);
        assert!(late.is_none());
        postponed
    });
    postponed.last().expect("at least one")
}

#[tokio::test(start_paused = true)]
async fn slots_of_a_hanging_endpoint_are_as_far_apart_as_its_rate_says() {
    let limiter = endpoint(50, 8);
    open_by_time_outs(&limiter).await;
    let last = park(&limiter, 100);
    let ahead = last.at - now();
    assert!(ahead < SECOND * 3, "{ahead:?}, and not 125 s");
    assert!(ahead > SECOND * 2, "{ahead:?}: the rate still counts");
}

#[tokio::test(start_paused = true)]
async fn slots_of_a_slow_endpoint_are_as_far_apart_as_its_answers() {
    let limiter = endpoint(50, 8);
    reached(&limiter, SECOND * 8).await;
    let last = park(&limiter, 100);
    assert!(last.at - now() > SECOND * 99);
    // It answered before it began to fail, and nothing says what it will take afterwards.
    attempt(&limiter, SECOND * 10, AttemptResult::Failed, None).await;
    let first = limiter.park("busy", NORMAL).at;
    let second = limiter.park("busy", NORMAL).at;
    assert_eq!(second - first, SECOND / 50);
}

#[tokio::test(start_paused = true)]
async fn what_was_parked_while_answers_were_slow_is_brought_forward_when_they_are_quick() {
    let limiter = endpoint(50, 8);
    reached(&limiter, SECOND * 8).await;
    let last = park(&limiter, 100).at;
    assert!(limiter.take_backlog().is_none(), "it is as slow as it was");
    while limiter.take_backlog().is_none() {
        reached(&limiter, SECOND / 100).await;
        advance(SECOND).await;
        assert!(now() < last, "never brought forward");
    }
    assert!(limiter.take_backlog().is_none(), "it is taken once");
}

#[tokio::test(start_paused = true)]
async fn a_backlog_gets_slots_at_the_rate_and_keeps_what_is_early_enough() {
    let limiter = endpoint(50, 8);
    reached(&limiter, SECOND * 8).await;
    park(&limiter, 100);
    limiter.state().answer = Some(SECOND / 100);
    let backlog = limiter.take_backlog().expect("parked too far ahead");
    assert!(backlog.len() > 90, "{} are far ahead", backlog.len());
    let begun = now();
    let slots: Vec<_> = backlog
        .into_iter()
        .filter_map(|message| limiter.earlier_slot(message))
        .collect();
    assert!(slots.len() > 90, "{} are moved", slots.len());
    assert!(slots.windows(2).all(|two| two[1] - two[0] == SECOND / 50));
    assert!(*slots.last().expect("some") - begun < SECOND * 2);
    advance(SECOND * 10).await;
    assert!(limiter.take_backlog().is_none(), "nothing is late now");
}

#[tokio::test(start_paused = true)]
async fn what_came_during_the_probe_is_brought_forward_when_the_breaker_closes() {
    let limiter = endpoint(50, 8);
    open_by_time_outs(&limiter).await;
    advance(settings().breaker_open).await;
    let probe = limiter.acquire(NORMAL).await.expect("the probe");
    let waiting = limiter.acquire(NORMAL).await.expect_err("one probe only");
    let late = limiter.remember(EventId(Uuid::nil()), 1, waiting.at);
    assert!(late.is_none());
    assert!(waiting.at > now() + settings().breaker_open - SECOND);
    assert!(limiter.take_backlog().is_none(), "not while it is open");
    limiter.record_result(probe, SECOND, AttemptResult::Reached, None);
    let backlog = limiter.take_backlog().expect("it is well again");
    let slots: Vec<_> = backlog
        .into_iter()
        .filter_map(|message| limiter.earlier_slot(message))
        .collect();
    assert_eq!(slots, [now()]);
}

#[tokio::test(start_paused = true)]
async fn what_was_being_parked_when_the_backlog_was_taken_is_moved_at_once() {
    let limiter = endpoint(50, 8);
    open_by_time_outs(&limiter).await;
    advance(settings().breaker_open).await;
    let probe = limiter.acquire(NORMAL).await.expect("the probe");
    let waiting = limiter.acquire(NORMAL).await.expect_err("one probe only");
    limiter.record_result(probe, SECOND, AttemptResult::Reached, None);
    assert!(limiter.take_backlog().is_none(), "it is not stored yet");
    limiter.state().slot_clock = now();
    let late = limiter.remember(EventId(Uuid::nil()), 1, waiting.at);
    let slot = limiter.earlier_slot(late.expect("it missed the others"));
    assert_eq!(slot, Some(now()));
}

#[tokio::test(start_paused = true)]
async fn slots_behind_a_probe_drag_no_others_along_when_it_succeeds() {
    let limiter = endpoint(50, 8);
    open_by_time_outs(&limiter).await;
    advance(settings().breaker_open).await;
    let probe = limiter.acquire(NORMAL).await.expect("the probe");
    let behind = limiter.acquire(NORMAL).await.expect_err("one probe only");
    limiter.record_result(probe, SECOND, AttemptResult::Reached, None);
    assert!(limiter.take_backlog().is_none(), "nothing is stored yet");
    assert!(limiter.park("rate", NORMAL).at < now() + SECOND);
    let late = limiter.remember(EventId(Uuid::nil()), 1, behind.at);
    assert!(late.is_some(), "it is moved at once");
}

#[tokio::test(start_paused = true)]
async fn slots_behind_a_probe_drag_no_others_along_when_it_fails() {
    let limiter = endpoint(50, 8);
    let pause = Some(SECOND * 5);
    attempt(&limiter, Duration::ZERO, AttemptResult::Reached, pause).await;
    advance(SECOND * 5).await;
    let probe = limiter.acquire(NORMAL).await.expect("the probe");
    let behind = limiter.acquire(NORMAL).await.expect_err("one probe only");
    assert!(behind.at > now() + SECOND * 29);
    limiter.record_result(probe, Duration::ZERO, AttemptResult::Reached, pause);
    let next = limiter.acquire(NORMAL).await.expect_err("paused again");
    assert_eq!(next.at, now() + SECOND * 5);
}

#[tokio::test(start_paused = true)]
async fn a_backlog_stays_when_the_endpoint_fails_again() {
    let limiter = endpoint(50, 8);
    reached(&limiter, SECOND * 8).await;
    park(&limiter, 10);
    limiter.state().answer = Some(SECOND / 100);
    let backlog = limiter.take_backlog().expect("parked too far ahead");
    open_by_time_outs(&limiter).await;
    for message in backlog {
        assert!(limiter.earlier_slot(message).is_none());
    }
}

#[tokio::test(start_paused = true)]
async fn a_backlog_goes_on_when_the_settings_change() {
    let limiter = endpoint(1, 8);
    park(&limiter, 100);
    let tasks = Tasks::default();
    let changed = Arc::new(limiter.changed(&webhook(50, 8), &settings(), now(), &tasks));
    let backlog = changed.take_backlog().expect("slots at the old rate");
    assert!(backlog.len() > 90);
}

#[tokio::test(start_paused = true)]
async fn a_pause_that_the_endpoint_asked_for_is_kept_and_counts_no_failure() {
    let limiter = endpoint(50, 8);
    let early = limiter.acquire(NORMAL).await.expect("free");
    let pause = Some(SECOND * 5);
    let opened = attempt(&limiter, Duration::ZERO, AttemptResult::Reached, pause).await;
    assert!(!opened, "429 is no failure");
    let park = limiter.acquire(NORMAL).await.expect_err("paused");
    assert_eq!((park.cause, park.at), ("retry_after", now() + SECOND * 5));
    limiter.record_result(early, SECOND, AttemptResult::Reached, None);
    assert!(
        limiter.acquire(NORMAL).await.is_err(),
        "what began before says nothing of the pause"
    );
    advance(SECOND * 5).await;
    let probe = limiter.acquire(NORMAL).await.expect("one probe");
    assert!(limiter.acquire(NORMAL).await.is_err(), "one only");
    limiter.record_result(probe, SECOND, AttemptResult::Reached, None);
    assert!(limiter.acquire(NORMAL).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_failure_with_a_pause_opens_the_breaker_at_once() {
    let limiter = endpoint(50, 8);
    let pause = Some(SECOND * 5);
    assert!(attempt(&limiter, Duration::ZERO, AttemptResult::Failed, pause).await);
    let park = limiter.acquire(NORMAL).await.expect_err("paused");
    assert_eq!(park.at, now() + SECOND * 5);
}
