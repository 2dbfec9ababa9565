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
        what_was_written_survives_reopening many_writers_at_once_lose_nothing;
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
