//! Events of a webhook, dead letters, and what waits.

use wahook::model::{
    EventFilter,
    EventStatus::{Delivered, Failed, Pending},
    Outcome,
};

use super::{Home, at, attempt, client, cql, ids, sqlite, webhook};

homes! { sqlite cql => {
    listings_are_newest_first_filtered_and_paged
    listings_go_on_over_days_and_past_what_is_over
    an_event_leaves_the_dead_letters_once_it_is_delivered
    what_was_held_is_no_attempt_and_leaves_the_waiting_once_delivered
} }

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
    assert_eq!(event.expect("is there").last().number, 1);
}
