//! The state of a webhook, and its hours.

use wahook::model::{
    EventStatus::{Delivered, Failed, Pending},
    HourStats, Timestamp,
};

use super::{Home, at, attempt, client, cql, origin, sqlite, webhook};

homes! { sqlite cql => {
    the_state_is_the_same_whatever_the_order
    the_newest_success_counts_on_whatever_day_it_was
    hours_are_summed_up
} }

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
