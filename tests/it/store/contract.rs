//! What every home of the audit must do. A new home passes these by adding a line to `homes!`.

use std::{sync::Arc, time::SystemTime};

use uuid::Uuid;
use wahook::{
    model::{
        Attempt, ClientId, Delivery, EventFilter, EventId, EventStatus, HourStats, Kind, Outcome,
        Priority, Timestamp, WebhookId,
    },
    store::Store,
};

use super::{Home, cql, sqlite};

fn client(id: u64) -> ClientId {
    ClientId::try_from(id).expect("in range")
}

fn webhook(id: u128) -> WebhookId {
    WebhookId(Uuid::from_u128(id))
}

/// Attempts of these tests lie in the last minutes: some homes forget what is old. Seconds count
/// from here.
fn origin() -> i64 {
    static ORIGIN: std::sync::OnceLock<i64> = std::sync::OnceLock::new();
    // Not across midnight or a full hour, unless a test wants to.
    *ORIGIN.get_or_init(|| Timestamp::from_system(SystemTime::now()).seconds() / 3600 * 3600 - 3600)
}

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_millis((origin() + second) * 1000)
}

/// The attempt of event `event` (published in that second) with this number, ended in second `at`.
pub(super) fn attempt(event: i64, number: u16, status: EventStatus, second: i64) -> Attempt {
    let webhook_id = webhook(1);
    let created_at = at(event);
    let message_id: wahook::model::MessageId = format!("M{event}").parse().expect("valid");
    let ok = status == EventStatus::Delivered;
    Attempt {
        delivery: Delivery {
            event_id: EventId::derive(created_at, webhook_id, "c", "s", &message_id, &Kind::Text),
            webhook_id,
            client_id: client(1),
            phone: "4915112345678".parse().expect("valid"),
            message_id,
            kind: Kind::ListReply,
            created_at,
            body: b"{\"content\":\"hi\"}".to_vec().into(),
            attempt_count: number.saturating_sub(1),
            attempts_this_round: 0,
            priority: Priority::Normal,
            chat_key: None,
        },
        number,
        outcome: if ok { Outcome::Ok } else { Outcome::Http5xx },
        status,
        http_status: Some(if ok { 200 } else { 500 }),
        response: Some("answer".to_owned()),
        error: (!ok).then(|| format!("error of {number}")),
        started_at: at(second),
        latency_ms: 7,
        next_retry_at: None,
    }
}

async fn ids(
    store: &dyn Store,
    filter: EventFilter,
    after: Option<EventId>,
    limit: usize,
) -> Vec<EventId> {
    let events = store
        .events(client(1), webhook(1), filter, after, limit)
        .await
        .expect("answers");
    events
        .iter()
        .map(|event| event.last().delivery.event_id)
        .collect()
}

use EventStatus::{Delivered, Failed, Pending};

async fn attempts_come_back_whole_in_order_and_once(home: Home) {
    let all = [
        attempt(1, 1, Pending, 10),
        attempt(1, 2, Pending, 20),
        attempt(1, 3, Delivered, 30),
    ];
    // Backwards, twice, one of them in two groups.
    for group in [
        vec![all[2].clone(), all[0].clone()],
        vec![all[1].clone(), all[2].clone()],
        all.to_vec(),
    ] {
        home.store.record(group).await.expect("writes");
    }
    let event_id = all[0].delivery.event_id;
    let event = home
        .store
        .event(client(1), webhook(1), event_id)
        .await
        .expect("answers")
        .expect("is there");
    assert_eq!(event.attempts, all);
    assert_eq!(event.attempt_count(), 3);
    assert_eq!(event.delivered_at(), Some(all[2].ended_at()));
    let state = home
        .store
        .states(client(1), &[webhook(1)])
        .await
        .expect("answers")[&webhook(1)]
        .clone();
    assert_eq!((state.failure_count, state.failed), (0, false));
    assert_eq!(state.last_success_at, Some(all[2].ended_at()));
}

async fn listings_are_newest_first_filtered_and_paged(home: Home) {
    let mut all = Vec::new();
    for event in 1..=9 {
        let status = [Delivered, Failed, Pending][usize::try_from(event % 3).expect("small")];
        all.push(attempt(event, 1, status, event));
    }
    home.store.record(all.clone()).await.expect("writes");
    let mut expected: Vec<_> = all.iter().rev().map(|one| one.delivery.event_id).collect();
    let none = EventFilter::default();
    assert_eq!(ids(&*home.store, none, None, 100).await, expected);
    let mut paged = Vec::new();
    let mut after = None;
    loop {
        let page = ids(&*home.store, none, after, 4).await;
        let Some(last) = page.last() else { break };
        after = Some(*last);
        paged.extend(page);
    }
    assert_eq!(paged, expected);
    let between = EventFilter {
        since: Some(at(3)),
        until: Some(at(6)),
        ..none
    };
    assert_eq!(ids(&*home.store, between, None, 100).await, expected[4..7]);
    let failed = EventFilter {
        status: Some(Failed),
        ..none
    };
    expected.retain(|id| {
        all.iter()
            .any(|one| one.delivery.event_id == *id && one.status == Failed)
    });
    assert_eq!(ids(&*home.store, failed, None, 100).await, expected);
}

async fn an_event_leaves_the_dead_letters_once_it_is_delivered(home: Home) {
    home.store
        .record(vec![attempt(1, 4, Failed, 10), attempt(2, 1, Failed, 11)])
        .await
        .expect("writes");
    let letters = home
        .store
        .dead_letters(client(1), None, 10)
        .await
        .expect("answers");
    assert_eq!(letters.len(), 2);
    let first = letters[0].last().delivery.event_id;
    let older = home
        .store
        .dead_letters(client(1), Some(first), 10)
        .await
        .expect("answers");
    assert_eq!(older, letters[1..]);
    let state = home
        .store
        .states(client(1), &[webhook(1)])
        .await
        .expect("answers")[&webhook(1)]
        .clone();
    assert_eq!((state.failure_count, state.failed), (2, true));
    assert_eq!(state.last_error.as_deref(), Some("error of 1"));
    home.store
        .record(vec![attempt(1, 5, Delivered, 20)])
        .await
        .expect("writes");
    // A late write of an older attempt changes nothing.
    home.store
        .record(vec![attempt(1, 3, Pending, 9)])
        .await
        .expect("writes");
    let letters = home
        .store
        .dead_letters(client(1), None, 10)
        .await
        .expect("answers");
    assert_eq!(letters.len(), 1);
    let state = home
        .store
        .states(client(1), &[webhook(1)])
        .await
        .expect("answers")[&webhook(1)]
        .clone();
    assert_eq!((state.failure_count, state.failed), (0, false));
}

async fn the_state_is_the_same_whatever_the_order(home: Home) {
    // Each round is a webhook of its own; the tie at 15 s must not depend on the order either.
    let all = [
        (1, Pending, 10),
        (2, Pending, 12),
        (3, Delivered, 15),
        (4, Pending, 15),
        (5, Failed, 20),
    ];
    let mut orders = vec![vec![]];
    for next in 0..all.len() {
        let insert =
            |order: &Vec<usize>, place| [&order[..place], &[next], &order[place..]].concat();
        orders = orders
            .iter()
            .flat_map(|order| (0..=next).map(move |place| insert(order, place)))
            .collect();
    }
    assert_eq!(orders.len(), 120);
    let id = |round: usize| webhook(100 + round as u128);
    for (round, order) in orders.iter().enumerate() {
        for &one in order {
            let (event, status, second) = all[one];
            let mut attempt = attempt(event, 1, status, second);
            attempt.error = (status != Delivered).then(|| format!("error of event {event}"));
            attempt.delivery.webhook_id = id(round);
            // Again at once: a repeated write must not be counted.
            home.store
                .record(vec![attempt.clone(), attempt])
                .await
                .expect("writes");
        }
    }
    let ids: Vec<_> = (0..orders.len()).map(id).collect();
    let states = home.store.states(client(1), &ids).await.expect("answers");
    for (round, order) in orders.iter().enumerate() {
        let state = &states[&id(round)];
        assert_eq!((state.failure_count, state.failed), (1, true), "{order:?}");
        assert_eq!(
            state.last_error.as_deref(),
            Some("error of event 5"),
            "{order:?}"
        );
        let ends =
            [state.last_success_at, state.last_attempt_at].map(|end| end.map(Timestamp::millis));
        assert_eq!(
            ends,
            [15, 20].map(|second| Some(at(second).millis() + 7)),
            "{order:?}"
        );
    }
}

async fn the_newest_success_counts_on_whatever_day_it_was(home: Home) {
    let midnight = origin().div_euclid(86_400) * 86_400 - origin();
    let state = async || {
        let states = home
            .store
            .states(client(1), &[webhook(1)])
            .await
            .expect("answers");
        (
            states[&webhook(1)].last_success_at,
            states[&webhook(1)].failure_count,
        )
    };
    // Published a second before midnight, but ended after what was published a second after it.
    let before = attempt(midnight - 1, 1, Delivered, midnight + 5);
    let after = attempt(midnight + 1, 1, Delivered, midnight + 2);
    home.store
        .record(vec![after.clone()])
        .await
        .expect("writes");
    assert_eq!(state().await, (Some(after.ended_at()), 0));
    home.store
        .record(vec![before.clone()])
        .await
        .expect("writes");
    assert_eq!(state().await, (Some(before.ended_at()), 0));
    // Days of failures hide no success.
    let of_another = |days: i64, status| {
        let mut one = attempt(
            midnight + days * 86_400,
            1,
            status,
            midnight + days * 86_400,
        );
        one.delivery.webhook_id = webhook(2);
        one
    };
    let old = of_another(-4, Delivered);
    let failed = (-3..0).map(|days| of_another(days, Failed)).collect();
    home.store.record(failed).await.expect("writes");
    home.store.record(vec![old.clone()]).await.expect("writes");
    let states = home
        .store
        .states(client(1), &[webhook(2)])
        .await
        .expect("answers");
    assert_eq!(
        (
            states[&webhook(2)].last_success_at,
            states[&webhook(2)].failure_count
        ),
        (Some(old.ended_at()), 3)
    );
}

async fn every_outcome_comes_back(home: Home) {
    for (event, outcome) in (1..).zip(Outcome::ALL) {
        let mut one = attempt(
            event,
            1,
            if outcome == Outcome::Ok {
                Delivered
            } else {
                Failed
            },
            event,
        );
        one.outcome = outcome;
        home.store.record(vec![one.clone()]).await.expect("writes");
        let event = home
            .store
            .event(client(1), webhook(1), one.delivery.event_id)
            .await
            .expect("answers");
        assert_eq!(event.expect("is there").attempts, [one]);
    }
}

async fn another_client_sees_nothing(home: Home) {
    let one = attempt(1, 1, Failed, 1);
    home.store.record(vec![one.clone()]).await.expect("writes");
    let other = client(2);
    let id = one.delivery.event_id;
    assert_eq!(
        home.store
            .event(other, webhook(1), id)
            .await
            .expect("answers"),
        None
    );
    assert_eq!(
        home.store
            .events(other, webhook(1), EventFilter::default(), None, 9)
            .await
            .expect("answers"),
        []
    );
    assert_eq!(
        home.store
            .dead_letters(other, None, 9)
            .await
            .expect("answers"),
        []
    );
    assert!(
        home.store
            .states(other, &[webhook(1)])
            .await
            .expect("answers")
            .is_empty()
    );
    assert_eq!(
        home.store
            .event(client(1), webhook(2), id)
            .await
            .expect("answers"),
        None
    );
}

async fn what_was_written_survives_reopening(home: Home) {
    home.store
        .record(vec![attempt(1, 1, Delivered, 1)])
        .await
        .expect("writes");
    home.store.flush().await.expect("writes");
    let again = home.reopen().await;
    assert_eq!(ids(&*again, EventFilter::default(), None, 9).await.len(), 1);
    let state = again
        .states(client(1), &[webhook(1)])
        .await
        .expect("answers")[&webhook(1)]
        .clone();
    assert_eq!(
        state.last_success_at,
        Some(attempt(1, 1, Delivered, 1).ended_at())
    );
    let stats = again
        .stats(client(1), webhook(1), at(0), at(3600))
        .await
        .expect("answers");
    assert_eq!(stats.iter().map(|hour| hour.delivered).sum::<u64>(), 1);
}

async fn many_writers_at_once_lose_nothing(home: Home) {
    let store = home.store;
    let mut tasks = tokio::task::JoinSet::new();
    for event in 0..200 {
        let store = Arc::clone(&store);
        tasks.spawn(async move {
            store
                .record(vec![attempt(event, 1, Delivered, event)])
                .await
        });
    }
    while let Some(written) = tasks.join_next().await {
        written.expect("no panic").expect("writes");
    }
    assert_eq!(
        ids(&*store, EventFilter::default(), None, 999).await.len(),
        200
    );
}

async fn listings_go_on_over_days_and_past_what_is_over(home: Home) {
    // Five days with five events each; the even ones failed once and were delivered at the second
    // attempt.
    let mut all = Vec::new();
    let day = 86_400;
    for second in (0..25).map(|event| (event % 5) * 60 - (event / 5) * day) {
        if second % 120 == 0 {
            all.push(attempt(second, 1, Pending, second));
            all.push(attempt(second, 2, Delivered, second + 30));
        } else {
            all.push(attempt(second, 1, Failed, second));
        }
    }
    home.store.record(all.clone()).await.expect("writes");
    let mut newest = all.clone();
    newest.sort_by_key(|one| std::cmp::Reverse((one.delivery.event_id, one.number)));
    newest.dedup_by_key(|one| one.delivery.event_id);
    for status in [None, Some(Delivered), Some(Failed), Some(Pending)] {
        let wanted = newest
            .iter()
            .filter(|one| status.is_none_or(|status| status == one.status));
        let wanted: Vec<_> = wanted.map(|one| one.delivery.event_id).collect();
        assert_eq!(
            wanted.len(),
            [25, 15, 10, 0][[None, Some(Delivered), Some(Failed), Some(Pending)]
                .iter()
                .position(|one| *one == status)
                .expect("one of them")]
        );
        let filter = EventFilter {
            status,
            ..EventFilter::default()
        };
        let mut paged = Vec::new();
        let mut after = None;
        loop {
            let page = ids(&*home.store, filter, after, 3).await;
            let Some(last) = page.last() else { break };
            after = Some(*last);
            paged.extend(page);
        }
        assert_eq!(paged, wanted, "{status:?}");
    }
    let letters = home
        .store
        .dead_letters(client(1), None, 99)
        .await
        .expect("answers");
    assert_eq!(letters.len(), 10);
}

async fn an_attempt_that_a_crash_made_twice_counts_as_it_ended(home: Home) {
    let first = attempt(1, 1, Pending, 10);
    let again = attempt(1, 1, Delivered, 40);
    home.store
        .record(vec![again.clone()])
        .await
        .expect("writes");
    home.store.record(vec![first]).await.expect("writes");
    let event_id = again.delivery.event_id;
    let event = home
        .store
        .event(client(1), webhook(1), event_id)
        .await
        .expect("answers")
        .expect("is there");
    assert_eq!(event.attempts, [again]);
    let none = EventFilter::default();
    let pending = EventFilter {
        status: Some(Pending),
        ..none
    };
    assert!(ids(&*home.store, pending, None, 9).await.is_empty());
    assert_eq!(ids(&*home.store, none, None, 9).await, [event_id]);
}

async fn what_was_held_is_no_attempt_and_leaves_the_waiting_once_delivered(home: Home) {
    let mut held = attempt(1, 0, Pending, 2);
    (held.outcome, held.http_status, held.response) = (Outcome::Held, None, None);
    home.store.record(vec![held.clone()]).await.expect("writes");
    let waiting = EventFilter {
        status: Some(Pending),
        ..EventFilter::default()
    };
    assert_eq!(
        ids(&*home.store, waiting, None, 9).await,
        [held.delivery.event_id]
    );
    assert!(
        home.store
            .states(client(1), &[webhook(1)])
            .await
            .expect("answers")
            .is_empty()
    );
    for later in [3, 300] {
        home.store
            .record(vec![attempt(1, 1, Delivered, later)])
            .await
            .expect("writes");
        assert!(ids(&*home.store, waiting, None, 9).await.is_empty());
    }
    let event = home
        .store
        .event(client(1), webhook(1), held.delivery.event_id)
        .await
        .expect("answers");
    assert_eq!(event.expect("is there").attempt_count(), 1);
}

async fn hours_are_summed_up(home: Home) {
    let mut late = attempt(3, 1, Failed, 3605);
    late.latency_ms = 100;
    let all = vec![
        attempt(1, 1, Pending, 10),
        attempt(1, 2, Delivered, 20),
        attempt(2, 1, Delivered, 30),
        late,
    ];
    home.store.record(all).await.expect("writes");
    let body = attempt(1, 1, Pending, 1).delivery.body.len() as u64;
    let hour = |second, attempts, delivered, failed, sum, max| HourStats {
        hour: at(second),
        attempts,
        delivered,
        failed,
        latency_sum_ms: sum,
        latency_max_ms: max,
        body_bytes: attempts * body,
    };
    let first = hour(0, 3, 2, 0, 21, 7);
    let second = hour(3600, 1, 0, 1, 100, 100);
    for _ in 0..2 {
        let stats = home
            .store
            .stats(client(1), webhook(1), at(0), at(7200))
            .await
            .expect("answers");
        assert_eq!(stats, [second, first]);
        assert_eq!(
            home.store
                .stats(client(1), webhook(1), at(59), at(3600))
                .await
                .expect("answers"),
            [first]
        );
        assert!(
            home.store
                .stats(client(2), webhook(1), at(0), at(7200))
                .await
                .expect("answers")
                .is_empty()
        );
        home.store.flush().await.expect("writes");
    }
}

async fn bodies_and_answers_of_any_bytes_come_back(home: Home) {
    let mut large = attempt(1, 1, Pending, 1);
    large.delivery.body = (0..300_000_u32)
        .map(|byte| byte.to_le_bytes()[0])
        .collect::<Vec<u8>>()
        .into();
    large.response = Some("\u{0}\u{1F600}ä'\"".repeat(1000));
    (large.http_status, large.next_retry_at) = (None, Some(at(99)));
    let mut bare = attempt(2, 1, Delivered, 2);
    (bare.response, bare.error) = (None, None);
    let mut empty = attempt(3, 1, Delivered, 3);
    empty.response = Some(String::new());
    for one in [large, bare, empty] {
        home.store.record(vec![one.clone()]).await.expect("writes");
        let event = home
            .store
            .event(client(1), webhook(1), one.delivery.event_id)
            .await
            .expect("answers");
        assert_eq!(event.expect("is there").attempts, [one]);
    }
}

macro_rules! homes {
    ($($home:ident: $($test:ident)*;)*) => {$(
        mod $home {
            $(#[tokio::test(flavor = "multi_thread")] async fn $test() {
                if let Some(home) = super::$home().await {
                    super::$test(home).await;
                }
            })*
        }
    )*};
    ($($home:ident)* => $tests:tt) => { homes!(@ $($home $tests)*); };
    (@ $($home:ident { $($test:ident)* })*) => { homes!($($home: $($test)*;)*); };
}
homes! { sqlite cql => {
    attempts_come_back_whole_in_order_and_once
    listings_are_newest_first_filtered_and_paged
    listings_go_on_over_days_and_past_what_is_over
    an_event_leaves_the_dead_letters_once_it_is_delivered
    an_attempt_that_a_crash_made_twice_counts_as_it_ended
    another_client_sees_nothing
    what_was_held_is_no_attempt_and_leaves_the_waiting_once_delivered
    the_state_is_the_same_whatever_the_order
    hours_are_summed_up
    bodies_and_answers_of_any_bytes_come_back
    what_was_written_survives_reopening
    many_writers_at_once_lose_nothing
    the_newest_success_counts_on_whatever_day_it_was
    every_outcome_comes_back
} }
