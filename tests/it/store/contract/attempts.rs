//! What was written comes back.

use std::{collections::HashSet, sync::Arc};

use wahook::model::{
    EventFilter,
    EventStatus::{Delivered, Failed, Pending},
    Outcome,
};

use super::{Home, at, attempt, client, cql, ids, sqlite, webhook};

homes! { sqlite cql => {
    attempts_come_back_whole_in_order_and_once
    an_attempt_that_a_crash_made_twice_counts_as_it_ended
    a_delivered_attempt_is_not_replaced_by_its_repetition
    every_outcome_comes_back
    another_client_sees_nothing
    what_was_written_survives_reopening
    many_writers_at_once_lose_nothing
    bodies_and_answers_of_any_bytes_come_back
    of_an_event_that_was_tried_without_end_the_newest_attempts_come_back
} }

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

async fn of_an_event_that_was_tried_without_end_the_newest_attempts_come_back(home: Home) {
    let all: Vec<_> = (1..=130)
        .map(|number| attempt(1, number, Pending, 10 * i64::from(number)))
        .collect();
    home.store.record(all.clone()).await.expect("writes");
    let event = home
        .store
        .event(client(1), webhook(1), all[0].delivery.event_id)
        .await
        .expect("answers")
        .expect("is there");
    assert_eq!(event.attempts, all[30..]);
    let bodies: HashSet<_> = event
        .attempts
        .iter()
        .map(|attempt| attempt.delivery.body.as_ptr())
        .collect();
    assert_eq!(bodies.len(), 1, "one body for all");
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

async fn a_delivered_attempt_is_not_replaced_by_its_repetition(home: Home) {
    let delivered = |event, second| attempt(event, 1, Delivered, second);
    let refused = |event, second| attempt(event, 1, Failed, second);
    // In this order, the other one, and with a third in between.
    let groups = [
        vec![delivered(1, 10), refused(1, 40)],
        vec![refused(2, 40), delivered(2, 10)],
        vec![refused(3, 50), delivered(3, 10), refused(3, 40)],
    ];
    for group in groups {
        for attempt in group {
            home.store.record(vec![attempt]).await.expect("writes");
        }
    }
    let mut expected = Vec::new();
    for event in 1..=3 {
        let delivered = delivered(event, 10);
        let id = delivered.delivery.event_id;
        let event = home
            .store
            .event(client(1), webhook(1), id)
            .await
            .expect("answers");
        assert_eq!(event.expect("is there").attempts, [delivered]);
        expected.insert(0, id);
    }
    let with = |status| EventFilter {
        status,
        ..EventFilter::default()
    };
    let store = &*home.store;
    assert_eq!(ids(store, with(None), None, 9).await, expected);
    assert_eq!(ids(store, with(None), None, 2).await, expected[..2]);
    assert_eq!(ids(store, with(Some(Delivered)), None, 9).await, expected);
    assert!(ids(store, with(Some(Failed)), None, 9).await.is_empty());
    let letters = home.store.dead_letters(client(1), None, 9).await;
    assert_eq!(letters.expect("answers").len(), 0);
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
