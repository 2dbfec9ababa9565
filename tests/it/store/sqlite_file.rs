//! What is SQLite's own: the file, its versions, and forgetting.

use wahook::{
    config,
    model::{EventFilter, EventStatus::Delivered, WebhookId},
    store::{Sqlite, Store},
    tasks::Tasks,
};

use super::{
    contract::{at, attempt},
    sqlite,
};

async fn count(store: &dyn Store) -> usize {
    let client = 1.try_into().expect("in range");
    let webhook = WebhookId(uuid::Uuid::from_u128(1));
    store
        .events(client, webhook, EventFilter::default(), None, 9999)
        .await
        .expect("answers")
        .len()
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_named_with_the_remedy() {
    let settings = config::Store {
        path: "/proc/nowhere/hooks.db".into(),
        ..config::Config::default().store
    };
    let error = Sqlite::open(&settings, &Tasks::default())
        .await
        .err()
        .expect("cannot be opened")
        .to_string();
    assert!(
        error.contains("store.path /proc/nowhere/hooks.db") && error.contains("name a file"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_can_be_opened_by_several_processes_at_the_same_time() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().expect("a folder");
        let settings = config::Store {
            path: folder.path().join("hooks.db"),
            ..config::Config::default().store
        };
        let tasks = Tasks::default();
        let open = || Sqlite::open(&settings, &tasks);
        let opened = futures_util::future::join_all([(); 6].map(|()| open())).await;
        for store in opened {
            assert_eq!(count(&store.expect("waits for the others")).await, 0);
        }
    }
}

#[tokio::test]
async fn a_file_of_a_newer_wahook_is_refused_and_an_older_one_is_raised() {
    let home = sqlite().await.expect("is always there");
    home.store
        .record(vec![attempt(1, 1, Delivered, 1)])
        .await
        .expect("writes");
    let settings = home.config.store.clone();
    let file = rusqlite::Connection::open(&settings.path).expect("opens");
    // As version 1 left it.
    let back = "DROP INDEX attempts_failed; DROP INDEX events_undelivered;
        CREATE INDEX events_by_status ON events (webhook_id, status, event_id); PRAGMA \
        user_version = 1";
    file.execute_batch(back).expect("goes back");
    let again = Sqlite::open(&settings, &Tasks::default())
        .await
        .expect("raises it");
    assert_eq!(count(&again).await, 1);
    let seen: (String, String, i64) = file
        .query_row(
            "SELECT started_at, event_id, attempt FROM audit",
            [],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
        )
        .expect("is shown");
    let event_id = attempt(1, 1, Delivered, 1).delivery.event_id.to_string();
    assert_eq!(seen, (at(1).to_string().replace('Z', ".000Z"), event_id, 1));
    file.pragma_update(None, "user_version", 99)
        .expect("is set");
    let error = Sqlite::open(&settings, &Tasks::default())
        .await
        .err()
        .expect("is too new")
        .to_string();
    assert!(
        error.contains("schema version 99") && error.ends_with("use a newer wahook"),
        "{error}"
    );
}

#[tokio::test]
async fn rows_older_than_the_retention_are_dropped_in_steps_and_their_pages_freed() {
    let home = sqlite().await.expect("is always there");
    let mut all: Vec<_> = (0..2500)
        .map(|second| attempt(second, 1, Delivered, second))
        .collect();
    for one in &mut all {
        one.response = Some("x".repeat(1000));
    }
    // One of the old events has a later attempt, too.
    all.push(attempt(7, 2, Delivered, 2600));
    home.store.record(all).await.expect("writes");
    let pages = || -> i64 {
        let file = rusqlite::Connection::open(&home.config.store.path).expect("opens");
        file.query_row("PRAGMA page_count", [], |row| row.get(0))
            .expect("is told")
    };
    let before = pages();
    assert_eq!(home.store.expire(at(0)).await.expect("drops nothing"), 0);
    assert_eq!(
        home.store.expire(at(2400)).await.expect("drops"),
        2000,
        "a step at a time"
    );
    assert_eq!(home.store.expire(at(2400)).await.expect("drops"), 400);
    assert_eq!(
        home.store
            .expire(at(2400))
            .await
            .expect("drops nothing more"),
        0
    );
    assert_eq!(
        count(&*home.store).await,
        101,
        "a hundred, and the one with a later attempt"
    );
    assert!(
        pages() < before / 2,
        "{} of {before} pages are left",
        pages()
    );
}
