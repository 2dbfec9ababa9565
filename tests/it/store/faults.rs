//! What the CQL store does when the cluster fails it.

use std::time::{Duration, Instant};

use scylla_proxy::{Action, Reaction, RequestReaction, example_db_errors};
use wahook::{
    model::{EventFilter, EventStatus::Delivered, WebhookId},
    store::{self, ErrorKind, Store},
    tasks::Tasks,
};

use super::contract::attempt;
use crate::support::{app::eventually, cassandra, troubled::Troubled};

struct Home {
    proxy: Troubled,
    store: std::sync::Arc<dyn Store>,
}

impl Home {
    async fn new(more: &[(&str, &str)]) -> Option<Self> {
        let keyspace = cassandra::migrated().await?;
        let proxy = Troubled::before(keyspace.port).await;
        let node = proxy.node();
        let more: Vec<_> = more
            .iter()
            .copied()
            .chain([("CQL__NODES", node.as_str())])
            .collect();
        let config = keyspace.config_with(&more);
        let store = store::open(&config.store, &config.cql, &Tasks::default())
            .await
            .expect("opens");
        // So that the day is known, and the next attempt is one statement.
        store
            .record(vec![attempt(0, 1, Delivered, 0)])
            .await
            .expect("writes");
        Some(Self { proxy, store })
    }

    async fn count(&self) -> usize {
        let client = 1.try_into().expect("in range");
        let webhook = WebhookId(uuid::Uuid::from_u128(1));
        self.store
            .events(client, webhook, EventFilter::default(), None, 999)
            .await
            .expect("answers")
            .len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_a_busy_cluster_refuses_is_tried_again() {
    let Some(mut home) = Home::new(&[]).await else {
        return;
    };
    let errors = [
        example_db_errors::write_timeout(),
        example_db_errors::unavailable(),
        example_db_errors::overloaded(),
        example_db_errors::server_error(),
        example_db_errors::is_bootstrapping(),
    ];
    for (event, error) in (1..).zip(errors) {
        home.proxy
            .next_executes(3, RequestReaction::forge_with_error(error.clone()));
        home.store
            .record(vec![attempt(event, 1, Delivered, event)])
            .await
            .unwrap_or_else(|text| panic!("{error}: {text}"));
    }
    home.proxy.heal();
    assert_eq!(home.count().await, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_can_never_succeed_fails_at_once() {
    let Some(mut home) = Home::new(&[]).await else {
        return;
    };
    home.proxy
        .next_executes(1, RequestReaction::forge().invalid());
    let error = home
        .store
        .record(vec![attempt(1, 1, Delivered, 1)])
        .await
        .expect_err("is refused");
    assert!(error.kind() == ErrorKind::Refused, "{error}");
    home.store
        .record(vec![attempt(1, 1, Delivered, 1)])
        .await
        .expect("another is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_is_made_again() {
    let Some(mut home) = Home::new(&[]).await else {
        return;
    };
    home.proxy
        .next_executes(2, RequestReaction::drop_connection());
    let store = &home.store;
    let one = attempt(1, 1, Delivered, 1);
    eventually("it is written", async || {
        store.record(vec![one.clone()]).await.ok()
    })
    .await;
    home.proxy.heal();
    assert_eq!(home.count().await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_costs_its_time_and_no_more() {
    let Some(mut home) =
        Home::new(&[("CQL__WRITE_TIMEOUT", "1s"), ("CQL__READ_TIMEOUT", "1s")]).await
    else {
        return;
    };
    // Never passed on, never answered.
    home.proxy
        .next_executes(usize::MAX, RequestReaction::drop_frame());
    let began = Instant::now();
    let many: Vec<_> = (1..=20)
        .map(|event| attempt(event, 1, Delivered, event))
        .collect();
    let error = home
        .store
        .record(many.clone())
        .await
        .expect_err("no answer");
    assert!(error.kind() == ErrorKind::Timeout, "{error}");
    home.store.ping().await.expect_err("no answer");
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "took {:?}",
        began.elapsed()
    );
    home.proxy.heal();
    let store = &home.store;
    eventually("it is written", async || {
        store.record(many.clone()).await.ok()
    })
    .await;
    assert_eq!(home.count().await, 21);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_node_is_waited_for() {
    let Some(mut home) = Home::new(&[]).await else {
        return;
    };
    let mut slow = RequestReaction::noop();
    slow.to_addressee = Some(Action {
        delay: Some(Duration::from_secs(1)),
        msg_processor: None,
    });
    home.proxy.next_executes(usize::MAX, slow);
    let began = Instant::now();
    let many: Vec<_> = (1..=100)
        .map(|event| attempt(event, 1, Delivered, event))
        .collect();
    home.store.record(many).await.expect("writes");
    assert!(
        began.elapsed() > Duration::from_secs(1),
        "the proxy did not slow it down"
    );
    home.proxy.heal();
    assert_eq!(home.count().await, 101);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_not_there_yet_is_found_once_it_is() {
    let Some(keyspace) = cassandra::migrated().await else {
        return;
    };
    let mut proxy = Troubled::stopped(keyspace.port);
    let node = proxy.node();
    let config = keyspace.config_with(&[
        ("CQL__NODES", node.as_str()),
        ("CQL__CONNECT_TIMEOUT", "1s"),
    ]);
    let store = store::open(&config.store, &config.cql, &Tasks::default())
        .await
        .expect("a node starts without its store");
    store.ping().await.expect_err("nobody answers");
    proxy.start().await;
    eventually("the store answers", async || store.ping().await.ok()).await;
    store
        .record(vec![attempt(1, 1, Delivered, 1)])
        .await
        .expect("writes");
}
