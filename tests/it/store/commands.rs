//! `wahook migrate` and `wahook import`, as operators run them.

use serde_json::{Value, json};

use crate::support::{
    app::{App, Client},
    cassandra,
};

#[tokio::test(flavor = "multi_thread")]
async fn migrating_is_done_by_one_at_a_time_and_serving_waits_for_it() {
    let Some(keyspace) = cassandra::keyspace().await else {
        return;
    };
    let app = App::start().await;
    let settings = keyspace.settings();
    let (code, stdout, stderr) = app.attempt(&["migrate", "--dry-run"], &settings).await;
    assert!(
        code == Some(1) && stderr.contains("--create-keyspace"),
        "{code:?} {stdout} {stderr}"
    );
    let (code, stdout, _) = app
        .attempt(
            &["migrate", "--dry-run", "--create-keyspace", "1"],
            &settings,
        )
        .await;
    assert_eq!(code, Some(1), "there is something to do");
    assert!(
        stdout.contains("would apply common/0001_audit\n")
            && stdout.contains("Cassandra: 4 steps to do"),
        "{stdout}"
    );

    let serve = [
        "serve",
        "--roles",
        "record",
        "--set",
        "admin.listen=127.0.0.1:0",
    ];
    let (code, _, stderr) = app.attempt(&serve, &settings).await;
    assert!(
        code == Some(1) && stderr.contains("wahook migrate"),
        "{code:?} {stderr}"
    );

    let both = ["migrate", "--create-keyspace", "1"];
    let ((one, first, wrong), (other, second, also)) =
        tokio::join!(app.attempt(&both, &settings), app.attempt(&both, &settings));
    assert_eq!(
        (one, other),
        (Some(0), Some(0)),
        "{first} {wrong} {second} {also}"
    );
    let mut done = [first, second].map(|text| text.lines().last().unwrap_or_default().to_owned());
    done.sort();
    let up_to_date = |steps| format!("Cassandra: {steps} steps done; the schema is up to date");
    assert_eq!(done, [up_to_date(0), up_to_date(4)]);
    let (code, stdout, _) = app.attempt(&["migrate", "--dry-run"], &settings).await;
    assert!(
        code == Some(0) && stdout.contains("0 steps to do"),
        "{stdout}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cql_store_there_is_nothing_to_migrate() {
    let app = App::start().await;
    let (code, _, stderr) = app.attempt(&["migrate"], &[]).await;
    assert!(
        code == Some(1) && stderr.contains("nothing to migrate"),
        "{stderr}"
    );
}

/// A row of the old table; a `\` at the end of a line joins it with the next.
const WEBHOOKS: &str = "\
id,client_id,phone_number,webhook_url,is_active,\
status,failure_count,max_retries,metadata,created_at,updated_at
3f0e6c0a-52a1-4b7e-9d0c-0e5b8a0c1d2e,1,4915112345678,https://example.com/hook,t,\
active,0,5,\"{\"\"tier\"\": \"\"gold\"\"}\",2026-01-02 03:04:05+00,2026-01-02 03:04:05+00
17,2,+4915112345679,https://example.com/other,f,\
paused,0,3,,2026-01-02 03:04:05+00,2026-01-02 03:04:05+00
18,1,not-a-number,https://example.com/hook,t,active,0,3,,2026-01-02 03:04:05+00,
";

#[tokio::test(flavor = "multi_thread")]
async fn old_tables_are_taken_over_once_into_sqlite() {
    webhooks_and_events_are_taken_over_once(App::start().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_tables_are_taken_over_once_into_cql() {
    let Some(keyspace) = cassandra::migrated().await else {
        return;
    };
    let settings = keyspace.settings();
    let settings: Vec<_> = settings
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    webhooks_and_events_are_taken_over_once(App::with(&settings).await).await;
}

async fn webhooks_and_events_are_taken_over_once(app: App) {
    let webhooks = file(&app, "webhooks.csv", WEBHOOKS);
    let (code, stdout, stderr) = app
        .attempt(&["import", "webhooks", &webhooks, "--dry-run"], &[])
        .await;
    assert!(
        code == Some(1) && stderr.contains("2 webhooks would be imported, 0 skipped, 1 wrong"),
        "{stderr}"
    );
    assert_eq!(stdout, "", "nothing was made");
    assert!(
        stderr.contains("row 3: phone_number") && !stderr.contains("not-a-number"),
        "{stderr}"
    );
    let (_, stdout, stderr) = app.attempt(&["import", "webhooks", &webhooks], &[]).await;
    assert!(stderr.contains("2 webhooks imported"), "{stderr}");
    // The output is a table, and nothing else: a heading, and a secret in each line.
    let secrets = stdout.lines().filter(|line| line.contains("whsec_"));
    assert_eq!(
        (secrets.count(), stdout.lines().count()),
        (2, 3),
        "{stdout}"
    );
    let (_, _, stderr) = app.attempt(&["import", "webhooks", &webhooks], &[]).await;
    assert!(
        stderr.contains("0 webhooks imported, 2 skipped"),
        "{stderr}"
    );

    let client = app.client(1).await;
    let webhook = client
        .get("/api/webhooks/3f0e6c0a-52a1-4b7e-9d0c-0e5b8a0c1d2e")
        .await;
    assert_eq!(
        (&webhook["max_retries"], &webhook["metadata"]["tier"]),
        (&json!(5), &json!("gold"))
    );
    assert_eq!(
        client.get("/api/webhooks/list").await["data"]
            .as_array()
            .expect("a list")
            .len(),
        1
    );
    events_are_taken_over_once(&app, &client, &webhook).await;
}

/// The path of a new file with this text.
fn file(app: &App, name: &str, text: &str) -> String {
    let path = app.data.path().join(name);
    std::fs::write(&path, text).expect("is written");
    path.display().to_string()
}

async fn events_are_taken_over_once(app: &App, client: &Client, webhook: &Value) {
    let today = &time::OffsetDateTime::now_utc().to_string()[..10];
    let event = |id: u32, status: &str, at: &str| {
        json!({
            "id": id,
            "client_id": 1,
            "phone_number": "4915112345678",
            "message_id": format!("OLD{id}"),
            "message_type": "text",
            "payload": {"content": "hi"},
            "status": status,
            "attempt_count": 2,
            "http_status": if status == "delivered" { 200 } else { 500 },
            "created_at": at,
        })
        .to_string()
    };
    let lines = [
        event(1, "delivered", &format!("{today} 00:00:01.5+00")),
        event(2, "failed", &format!("{today} 00:00:02+00")),
        event(3, "retrying", &format!("{today} 00:00:03+00")),
        event(4, "delivered", "2020-01-01 00:00:00+00"),
        event(5, "lost", today),
    ];
    let events = file(app, "events.jsonl", &lines.join("\n"));
    for counts in [
        "3 events imported, 1 skipped",
        "0 events imported, 4 skipped",
    ] {
        let (code, _, stderr) = app.attempt(&["import", "events", &events], &[]).await;
        assert_eq!(code, Some(1), "one is wrong: {stderr}");
        assert!(
            stderr.contains(counts) && stderr.contains(", 1 wrong"),
            "{stderr}"
        );
    }
    let stats = client
        .get("/api/webhooks/3f0e6c0a-52a1-4b7e-9d0c-0e5b8a0c1d2e/stats")
        .await;
    let sums = ["attempts", "delivered", "failed"].map(|name| stats["data"][0][name].as_u64());
    assert_eq!(sums, [Some(3), Some(1), Some(2)], "{stats}");
    let seen = client.events(webhook).await;
    let seen: Vec<_> = seen
        .iter()
        .map(|one| (one["message_id"].as_str(), one["status"].as_str()))
        .collect();
    let wanted = [
        ("OLD3", "failed"),
        ("OLD2", "failed"),
        ("OLD1", "delivered"),
    ];
    assert_eq!(seen, wanted.map(|(id, status)| (Some(id), Some(status))));
}
