//! The whole node while its store is troubled: deliveries do not notice, and in the end all is on
//! record, once.

use std::time::Duration;

use scylla_proxy::RequestReaction;
use serde_json::Value;

use crate::support::{
    app::{App, Client, eventually, stays},
    cassandra,
    receiver::Receiver,
    troubled::Troubled,
};

const PHONE: &str = "4915112345678";

async fn app(more: &[(&'static str, &str)]) -> Option<(Troubled, App)> {
    let keyspace = cassandra::migrated().await?;
    let proxy = Troubled::before(keyspace.port).await;
    let mut settings = keyspace.settings().to_vec();
    let node = proxy.node();
    settings.push(("CQL__NODES", node));
    let mut settings: Vec<_> = settings
        .iter()
        .map(|(key, value)| (*key, value.as_str()))
        .collect();
    settings.extend(more);
    let app = App::with(&settings).await;
    Some((proxy, app))
}

async fn all_events(client: &Client, webhook: &Value) -> Vec<Value> {
    let path = format!(
        "/api/webhooks/{}/events?limit=250",
        webhook["id"].as_str().expect("an id")
    );
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = client.call("GET", &format!("{path}{cursor}"), None).await;
        if status != 200 {
            return Vec::new();
        }
        all.extend(page["data"].as_array().expect("a list").iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_go_on_without_the_store_and_all_is_recorded_once_it_is_back() {
    let Some((mut proxy, app)) = app(&[]).await else {
        return;
    };
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "BEFORE").await;
    client.event_when(&webhook, "BEFORE", "delivered").await;

    proxy.stop().await;
    for number in 0..300 {
        client.publish(PHONE, &format!("M{number}")).await;
    }
    receiver.wait_for(301).await;
    let path = format!(
        "/api/webhooks/{}/events",
        webhook["id"].as_str().expect("an id")
    );
    let (status, problem) = client.call("GET", &path, None).await;
    assert_eq!(status, 503, "{problem}");
    assert!(
        app.nats.messages("WA_RESULT").await > 0,
        "results wait in the stream"
    );

    proxy.start().await;
    eventually("all is recorded", async || {
        (all_events(&client, &webhook).await.len() == 301
            && app.nats.messages("WA_RESULT").await == 0)
            .then_some(())
    })
    .await;
    let events = all_events(&client, &webhook).await;
    assert!(
        events
            .iter()
            .all(|event| event["status"] == "delivered" && event["attempt_count"] == 1)
    );
    assert_eq!(
        receiver.received().len(),
        301,
        "nothing was delivered twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_go_on_while_another_holds_the_file_and_all_is_recorded_once_it_lets_go() {
    let app = App::with(&[("STORE__BUSY_TIMEOUT", "200ms")]).await;
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "BEFORE").await;
    client.event_when(&webhook, "BEFORE", "delivered").await;

    let other = rusqlite::Connection::open(app.data.path().join("hooks.db")).expect("opens");
    other.busy_timeout(Duration::from_secs(10)).expect("is set");
    other.execute_batch("BEGIN IMMEDIATE").expect("locks it");
    for number in 0..100 {
        client.publish(PHONE, &format!("M{number}")).await;
    }
    receiver.wait_for(101).await;
    // Longer than a write waits for the lock: it fails, and is tried again.
    stays(Duration::from_secs(1), "reading goes on", async || {
        all_events(&client, &webhook).await.len() == 1
    })
    .await;
    assert!(
        app.nats.messages("WA_RESULT").await > 0,
        "results wait in the stream"
    );

    other.execute_batch("ROLLBACK").expect("lets go");
    eventually("all is recorded", async || {
        (all_events(&client, &webhook).await.len() == 101
            && app.nats.messages("WA_RESULT").await == 0)
            .then_some(())
    })
    .await;
    assert_eq!(
        receiver.received().len(),
        101,
        "nothing was delivered twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn results_that_cannot_be_stored_or_read_are_kept_and_delay_no_others() {
    let Some((mut proxy, app)) = app(&[]).await else {
        return;
    };
    let client = app.client(1).await;
    let receiver = Receiver::answering(&[200]).await;
    let webhook = client.register(PHONE, &receiver.url("/")).await;
    client.publish(PHONE, "BEFORE").await;
    client.event_when(&webhook, "BEFORE", "delivered").await;

    proxy.executes_with("POISON", RequestReaction::forge().invalid());
    let stream = app.nats.jetstream().await;
    stream
        .publish("wa.result.3", "no envelope".into())
        .await
        .expect("is sent")
        .await
        .expect("is stored");
    for id in ["M1", "POISON", "M2"] {
        client.publish(PHONE, id).await;
    }
    for id in ["M1", "M2"] {
        client.event_when(&webhook, id, "delivered").await;
    }
    eventually("both are kept", async || {
        (app.nats.messages("WA_DLQ").await == 2).then_some(())
    })
    .await;
    eventually("none is left", async || {
        (app.nats.messages("WA_RESULT").await == 0).then_some(())
    })
    .await;
    let letters = stream.get_stream("WA_DLQ").await.expect("is there");
    let mut reasons = Vec::new();
    for sequence in 1..=2 {
        let letter = letters.get_raw_message(sequence).await.expect("is there");
        assert_eq!(letter.subject.as_str(), "wa.undecodable.WA_RESULT");
        reasons.push(
            letter
                .headers
                .get("wa-reason")
                .map(|reason| reason.as_str().to_owned()),
        );
    }
    reasons.sort();
    assert_eq!(reasons, [None, Some("refused by the store".to_owned())]);
    assert_eq!(receiver.received().len(), 4, "deliveries did not notice");
}
