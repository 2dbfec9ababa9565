//! What every home of the audit must do. A new home passes these by adding a line to `homes!`.

use std::time::Duration;

use tempfile::TempDir;
use uuid::Uuid;

use super::{Sqlite, Store};
use crate::{
    config,
    model::{Attempt, ClientId, Delivery, EventFilter, EventId, EventStatus, Kind, Outcome, Timestamp, WebhookId},
};

struct Home {
    store: Box<dyn Store>,
    settings: config::Store,
    _folder: TempDir,
}

async fn sqlite() -> Home {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = config::Store {
        path: folder.path().join("deep/hooks.db"),
        batch_max: 256,
        batch_wait: Duration::from_millis(1),
        busy_timeout: Duration::from_secs(5),
    };
    Home { store: Box::new(Sqlite::open(&settings).await.expect("opens")), settings, _folder: folder }
}

fn client(id: u64) -> ClientId {
    ClientId::try_from(id).expect("in range")
}

fn webhook(id: u128) -> WebhookId {
    WebhookId(Uuid::from_u128(id))
}

/// The attempt of event `event` (published in that second) with this number, ended in second `at`.
fn attempt(event: i64, number: u16, status: EventStatus, at: i64) -> Attempt {
    let (webhook_id, created_at) = (webhook(1), Timestamp::from_millis(event * 1000));
    let message_id: crate::model::MessageId = format!("M{event}").parse().expect("valid");
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
            attempts: number.saturating_sub(1),
            tries: 0,
        },
        number,
        outcome: if ok { Outcome::Ok } else { Outcome::Http5xx },
        status,
        http_status: Some(if ok { 200 } else { 500 }),
        response: Some("answer".to_owned()),
        error: (!ok).then(|| format!("error of {number}")),
        started_at: Timestamp::from_millis(at * 1000),
        latency_ms: 7,
        next_retry_at: None,
    }
}

async fn ids(store: &dyn Store, filter: EventFilter, after: Option<EventId>, limit: usize) -> Vec<EventId> {
    let events = store.events(client(1), webhook(1), filter, after, limit).await.expect("answers");
    events.iter().map(|event| event.last().delivery.event_id).collect()
}

use EventStatus::{Delivered, Failed, Pending};

async fn attempts_come_back_whole_in_order_and_once(home: Home) {
    let all = [attempt(1, 1, Pending, 10), attempt(1, 2, Pending, 20), attempt(1, 3, Delivered, 30)];
    // Backwards, twice, one of them in two groups.
    for group in [vec![all[2].clone(), all[0].clone()], vec![all[1].clone(), all[2].clone()], all.to_vec()] {
        home.store.record(group).await.expect("writes");
    }
    let event_id = all[0].delivery.event_id;
    let event = home.store.event(client(1), webhook(1), event_id).await.expect("answers").expect("is there");
    assert_eq!(event.attempts, all);
    assert_eq!(event.attempt_count(), 3);
    assert_eq!(event.delivered_at(), Some(all[2].ended_at()));
    let state = home.store.states(client(1), &[webhook(1)]).await.expect("answers")[&webhook(1)].clone();
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
    let (mut paged, mut after) = (Vec::new(), None);
    loop {
        let page = ids(&*home.store, none, after, 4).await;
        let Some(last) = page.last() else { break };
        after = Some(*last);
        paged.extend(page);
    }
    assert_eq!(paged, expected);
    let at = |second: i64| Some(Timestamp::from_millis(second * 1000));
    let between = EventFilter { since: at(3), until: at(6), ..none };
    assert_eq!(ids(&*home.store, between, None, 100).await, expected[4..7]);
    let failed = EventFilter { status: Some(Failed), ..none };
    expected.retain(|id| all.iter().any(|one| one.delivery.event_id == *id && one.status == Failed));
    assert_eq!(ids(&*home.store, failed, None, 100).await, expected);
}

async fn an_event_leaves_the_dead_letters_once_it_is_delivered(home: Home) {
    home.store.record(vec![attempt(1, 4, Failed, 10), attempt(2, 1, Failed, 11)]).await.expect("writes");
    let letters = home.store.dead_letters(client(1), None, 10).await.expect("answers");
    assert_eq!(letters.len(), 2);
    let first = letters[0].last().delivery.event_id;
    let older = home.store.dead_letters(client(1), Some(first), 10).await.expect("answers");
    assert_eq!(older, letters[1..]);
    let state = home.store.states(client(1), &[webhook(1)]).await.expect("answers")[&webhook(1)].clone();
    assert_eq!((state.failure_count, state.failed), (2, true));
    assert_eq!(state.last_error.as_deref(), Some("error of 1"));
    home.store.record(vec![attempt(1, 5, Delivered, 20)]).await.expect("writes");
    // A late write of an older attempt changes nothing.
    home.store.record(vec![attempt(1, 3, Pending, 9)]).await.expect("writes");
    let letters = home.store.dead_letters(client(1), None, 10).await.expect("answers");
    assert_eq!(letters.len(), 1);
    let state = home.store.states(client(1), &[webhook(1)]).await.expect("answers")[&webhook(1)].clone();
    assert_eq!((state.failure_count, state.failed), (0, false));
}

async fn the_state_is_the_same_whatever_the_order(home: Home) {
    // Each round is a webhook of its own; the tie at 15 s must not depend on the order either.
    let all = [(1, Pending, 10), (2, Pending, 12), (3, Delivered, 15), (4, Pending, 15), (5, Failed, 20)];
    let mut orders = vec![vec![]];
    for next in 0..all.len() {
        let insert = |order: &Vec<usize>, place| [&order[..place], &[next], &order[place..]].concat();
        orders = orders.iter().flat_map(|order| (0..=next).map(move |place| insert(order, place))).collect();
    }
    assert_eq!(orders.len(), 120);
    let id = |round: usize| webhook(100 + round as u128);
    for (round, order) in orders.iter().enumerate() {
        for &one in order {
            let (event, status, at) = all[one];
            let mut attempt = attempt(event, 1, status, at);
            attempt.error = (status != Delivered).then(|| format!("error of event {event}"));
            attempt.delivery.webhook_id = id(round);
            // Again at once: a repeated write must not be counted.
            home.store.record(vec![attempt.clone(), attempt]).await.expect("writes");
        }
    }
    let ids: Vec<_> = (0..orders.len()).map(id).collect();
    let states = home.store.states(client(1), &ids).await.expect("answers");
    for (round, order) in orders.iter().enumerate() {
        let state = &states[&id(round)];
        assert_eq!((state.failure_count, state.failed), (1, true), "{order:?}");
        assert_eq!(state.last_error.as_deref(), Some("error of event 5"), "{order:?}");
        let ends = [state.last_success_at, state.last_attempt_at].map(|end| end.map(Timestamp::millis));
        assert_eq!(ends, [Some(15_007), Some(20_007)], "{order:?}");
    }
}

async fn another_client_sees_nothing(home: Home) {
    let one = attempt(1, 1, Failed, 1);
    home.store.record(vec![one.clone()]).await.expect("writes");
    let (other, id) = (client(2), one.delivery.event_id);
    assert_eq!(home.store.event(other, webhook(1), id).await.expect("answers"), None);
    assert_eq!(home.store.events(other, webhook(1), EventFilter::default(), None, 9).await.expect("answers"), []);
    assert_eq!(home.store.dead_letters(other, None, 9).await.expect("answers"), []);
    assert!(home.store.states(other, &[webhook(1)]).await.expect("answers").is_empty());
    assert_eq!(home.store.event(client(1), webhook(2), id).await.expect("answers"), None);
}

async fn what_was_written_survives_reopening(home: Home) {
    home.store.record(vec![attempt(1, 1, Delivered, 1)]).await.expect("writes");
    drop(home.store);
    let again = Sqlite::open(&home.settings).await.expect("opens again");
    assert_eq!(ids(&again, EventFilter::default(), None, 9).await.len(), 1);
}

async fn many_writers_at_once_lose_nothing(home: Home) {
    let store = std::sync::Arc::new(home.store);
    let mut tasks = tokio::task::JoinSet::new();
    for event in 0..200 {
        let store = std::sync::Arc::clone(&store);
        tasks.spawn(async move { store.record(vec![attempt(event, 1, Delivered, event)]).await });
    }
    while let Some(written) = tasks.join_next().await {
        written.expect("no panic").expect("writes");
    }
    assert_eq!(ids(&**store, EventFilter::default(), None, 999).await.len(), 200);
}

macro_rules! homes {
    ($($home:ident: $($test:ident)*;)*) => {$(
        mod $home {
            $(#[tokio::test] async fn $test() { super::$test(super::$home().await).await; })*
        }
    )*};
}
homes! {
    sqlite: attempts_come_back_whole_in_order_and_once listings_are_newest_first_filtered_and_paged
        an_event_leaves_the_dead_letters_once_it_is_delivered another_client_sees_nothing
        the_state_is_the_same_whatever_the_order what_was_written_survives_reopening many_writers_at_once_lose_nothing;
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_named_with_the_remedy() {
    let settings = config::Store {
        path: "/proc/nowhere/hooks.db".into(),
        batch_max: 1,
        batch_wait: Duration::ZERO,
        busy_timeout: Duration::ZERO,
    };
    let error = Sqlite::open(&settings).await.err().expect("cannot be opened").to_string();
    assert!(error.contains("store.path /proc/nowhere/hooks.db") && error.contains("name a file"), "{error}");
}

#[tokio::test]
async fn a_file_of_a_newer_wahook_is_refused_and_an_older_one_is_raised() {
    let home = sqlite().await;
    home.store.record(vec![attempt(1, 1, Delivered, 1)]).await.expect("writes");
    drop(home.store);
    let file = rusqlite::Connection::open(&home.settings.path).expect("opens");
    // As version 1 left it.
    file.execute_batch("DROP INDEX attempts_failed; PRAGMA user_version = 1").expect("goes back");
    let again = Sqlite::open(&home.settings).await.expect("raises it");
    assert_eq!(ids(&again, EventFilter::default(), None, 9).await.len(), 1);
    let seen: (String, String, i64) = file
        .query_row("SELECT started_at, event_id, attempt FROM audit", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .expect("is shown");
    let event_id = attempt(1, 1, Delivered, 1).delivery.event_id.to_string();
    assert_eq!(seen, ("1970-01-01T00:00:01.000Z".to_owned(), event_id, 1));
    file.pragma_update(None, "user_version", 99).expect("is set");
    let error = Sqlite::open(&home.settings).await.err().expect("is too new").to_string();
    assert!(error.contains("schema version 99") && error.ends_with("use a newer wahook"), "{error}");
}
