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
    let back = "DROP TRIGGER webhook_hours_add; DROP TRIGGER webhook_hours_remove;
        DROP TRIGGER webhook_hours_replace_old; DROP TRIGGER webhook_hours_replace_new;
        DROP TABLE webhook_hours; DROP INDEX attempts_failed; DROP INDEX events_undelivered;
        CREATE INDEX events_by_status ON events (webhook_id, status, event_id); PRAGMA \
        user_version = 1";
    file.execute_batch(back).expect("goes back");
    let again = Sqlite::open(&settings, &Tasks::default())
        .await
        .expect("raises it");
    assert_eq!(count(&again).await, 1);
    let client = 1.try_into().expect("in range");
    let webhook = WebhookId(uuid::Uuid::from_u128(1));
    let hours = again.stats(client, webhook, at(0), at(3600)).await;
    let attempts = hours
        .expect("answers")
        .iter()
        .map(|hour| hour.attempts)
        .sum::<u64>();
    assert_eq!(attempts, 1, "older attempts are in the sums");
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

fn settings_of(path: std::path::PathBuf) -> config::Store {
    config::Store {
        path,
        ..config::Config::default().store
    }
}

async fn refusal(settings: &config::Store) -> String {
    let refused = Sqlite::open(settings, &Tasks::default()).await.err();
    wahook::telemetry::report(&refused.expect("it is refused"))
}

#[tokio::test]
async fn a_file_of_another_program_is_refused_unchanged_and_without_the_schema() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = settings_of(folder.path().join("other.db"));
    let other = rusqlite::Connection::open(&settings.path).expect("opens");
    other
        .execute_batch("CREATE TABLE attempts (id INTEGER)")
        .expect("a table of the same name");
    drop(other);
    let before = std::fs::read(&settings.path).expect("a file");
    let text = refusal(&settings).await;
    assert!(
        text.contains("another program") && text.contains("name a file"),
        "{text}"
    );
    assert!(!text.contains("CREATE"), "{text}");
    assert_eq!(std::fs::read(&settings.path).expect("a file"), before);

    // With a version that wahook has, too: the migration fails.
    let other = rusqlite::Connection::open(&settings.path).expect("opens");
    other
        .pragma_update(None, "user_version", 1)
        .expect("is set");
    drop(other);
    let text = refusal(&settings).await;
    assert!(text.contains("name a file of wahook's own"), "{text}");
    assert!(
        !text.contains("CREATE") && text.lines().count() == 1,
        "{text}"
    );
}

#[tokio::test]
async fn a_damaged_file_is_refused_at_the_start_and_turns_readiness_red_later() {
    let home = sqlite().await.expect("is always there");
    let all: Vec<_> = (0..3000)
        .map(|second| attempt(second, 1, Delivered, second))
        .collect();
    home.store.record(all).await.expect("writes");
    let settings = home.config.store.clone();
    let file = rusqlite::Connection::open(&settings.path).expect("opens");
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    file.query_row(checkpoint, [], |_| Ok(()))
        .expect("copies all pages into the file");
    drop(file);
    home.store.ping().await.expect("well");

    let mut bytes = std::fs::read(&settings.path).expect("a file");
    // All but the first pages, in place: the open store sees it.
    bytes[4 * 4096..].fill(0xa5);
    std::fs::write(&settings.path, &bytes).expect("its own file");
    let text = refusal(&settings).await;
    assert!(
        text.contains("damaged") && text.contains("restore it"),
        "{text}"
    );

    let client = 1.try_into().expect("in range");
    let webhook = WebhookId(uuid::Uuid::from_u128(1));
    let answer = home
        .store
        .events(client, webhook, EventFilter::default(), None, 9999)
        .await;
    answer.expect_err("pages are unreadable");
    let error = home.store.ping().await.expect_err("stays red");
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[tokio::test]
async fn a_write_that_fails_turns_readiness_red_until_one_works() {
    let home = sqlite().await.expect("is always there");
    let file = rusqlite::Connection::open(&home.config.store.path).expect("opens");
    let refuse = "CREATE TRIGGER full BEFORE INSERT ON attempts
        BEGIN SELECT RAISE(ABORT, 'no room'); END";
    file.execute_batch(refuse).expect("is made");
    let write = async |second| {
        home.store
            .record(vec![attempt(second, 1, Delivered, second)])
            .await
    };
    write(1).await.expect_err("is refused");
    let error = home.store.ping().await.expect_err("the last write failed");
    let text = wahook::telemetry::report(&error);
    assert!(
        text.contains("cannot be written") && text.contains("no room"),
        "{text}"
    );
    file.execute_batch("DROP TRIGGER full").expect("is dropped");
    write(1).await.expect("there is room");
    home.store.ping().await.expect("well again");
}
