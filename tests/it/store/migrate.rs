//! Bringing a schema up to date, and refusing to serve without.

use wahook::{
    store::{Cql, ErrorKind},
    tasks::Tasks,
};

use crate::support::cassandra::{Keyspace, keyspace};

async fn refused(keyspace: &Keyspace) -> String {
    let config = keyspace.config();
    match Cql::open(&config.cql, config.store.retention, &Tasks::default())
        .await
        .err()
    {
        Some(error) if error.kind() == ErrorKind::Open => error.to_string(),
        other => panic!("not refused: {other:?}"),
    }
}

async fn plan(keyspace: &Keyspace, more: &[(&str, &str)]) -> Vec<String> {
    let config = keyspace.config_with(more);
    let plan = keyspace
        .migrator(&config)
        .await
        .plan(Some(1))
        .await
        .expect("a plan");
    plan.iter().map(ToString::to_string).collect()
}

/// A session of no room's, for looking into tables as an operator would.
async fn session(keyspace: &Keyspace) -> scylla::client::session::Session {
    let builder = scylla::client::session_builder::SessionBuilder::new();
    builder
        .known_node(keyspace.node())
        .build()
        .await
        .expect("Cassandra answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_is_made_step_by_step_and_only_a_whole_one_is_served() {
    let Some(keyspace) = keyspace().await else {
        return;
    };
    let error = refused(&keyspace).await;
    assert!(
        error.contains("does not exist") && error.contains("--create-keyspace"),
        "{error}"
    );

    let config = keyspace.config();
    let migrator = keyspace.migrator(&config).await;
    assert_eq!(migrator.server(), "Cassandra");
    let error = migrator
        .plan(None)
        .await
        .expect_err("no keyspace, and none wanted")
        .to_string();
    assert!(error.contains("--create-keyspace"), "{error}");
    let steps = migrator.plan(Some(1)).await.expect("a plan");
    let names: Vec<_> = steps.iter().map(ToString::to_string).collect();
    assert!(names[0].starts_with("CREATE KEYSPACE"), "{names:?}");
    let common = [
        "common/0001_audit",
        "common/0002_webhooks",
        "common/0003_last_success",
    ];
    assert_eq!(names[1..], common, "nothing of ScyllaDB's");

    // A plan alone changes nothing; half of it is not enough; a step that is done twice does no
    // harm.
    assert!(refused(&keyspace).await.contains("does not exist"));
    for step in [&steps[0], &steps[1], &steps[1]] {
        migrator.apply(step).await.expect("applies");
    }
    let error = refused(&keyspace).await;
    assert!(
        error.contains("common/0002_webhooks is not applied") && error.contains("wahook migrate"),
        "{error}"
    );
    assert_eq!(plan(&keyspace, &[]).await, common[1..]);
    // A column that is there already is passed over.
    for step in [&steps[2], &steps[3], &steps[3]] {
        migrator.apply(step).await.expect("applies");
    }
    assert!(plan(&keyspace, &[]).await.is_empty());
    Cql::open(&config.cql, config.store.retention, &Tasks::default())
        .await
        .expect("is served");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_was_changed_is_named_and_a_newer_schema_is_served() {
    let Some(keyspace) = keyspace().await else {
        return;
    };
    keyspace.migrate().await;
    let session = session(&keyspace).await;
    let name = &keyspace.name;
    let write = async |component: &str, version: i32| {
        let row = format!(
            "INSERT INTO {name}.schema_migrations (component, version, sha256) VALUES \
             ('{component}', {version}, 'other')"
        );
        session.query_unpaged(row, ()).await.expect("is written");
    };
    write("common", 99).await;
    let config = keyspace.config();
    Cql::open(&config.cql, config.store.retention, &Tasks::default())
        .await
        .expect("what is added does not hurt");
    write("common", 2).await;
    let error = refused(&keyspace).await;
    assert!(
        error.contains("migration common/0002_webhooks differs"),
        "{error}"
    );
    let error = keyspace
        .migrator(&config)
        .await
        .plan(Some(1))
        .await
        .expect_err("differs")
        .to_string();
    assert!(
        error.contains("migration common/0002_webhooks differs"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn retention_becomes_the_tables_time_to_live() {
    let Some(keyspace) = keyspace().await else {
        return;
    };
    keyspace.migrate().await;
    let longer = [("STORE__RETENTION", "2160h")];
    let steps = plan(&keyspace, &longer).await;
    assert_eq!(steps.len(), 8, "{steps:?}");
    assert_eq!(steps[0], "events: time to live 2592000 s becomes 7776000 s");
    keyspace.migrate_as(&keyspace.config_with(&longer)).await;
    assert!(plan(&keyspace, &longer).await.is_empty());
    let query = "SELECT default_time_to_live, compaction FROM system_schema.tables WHERE \
        keyspace_name = ? AND table_name = 'events'";
    let answer = session(&keyspace)
        .await
        .query_unpaged(query, (&keyspace.name,))
        .await
        .expect("answers");
    let rows = answer.into_rows_result().expect("rows");
    let (seconds, compaction): (i32, std::collections::HashMap<String, String>) =
        rows.single_row().expect("one row");
    assert_eq!(
        (seconds, compaction["compaction_window_size"].as_str()),
        (7_776_000, "2")
    );
}
