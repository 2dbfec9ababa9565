//! Limits that an operator sets for one client.

use std::time::Duration;

use serde_json::{Value, json};

use super::{KIB, PHONE, is_taken, publish_large};
use crate::support::{
    app::{App, Client, eventually, eventually_within, http_client},
    process::free_port,
    receiver::Receiver,
};

/// Until a change holds on every node, on a machine that is busy with other tests.
const IN_FORCE_MAX: Duration = Duration::from_secs(5);

async fn paused(client: &Client) -> Value {
    let body = json!({
        "phone_number": PHONE, "webhook_url": "http://127.0.0.1:1/", "is_active": false,
    });
    client.register_with(body).await
}

async fn rows(app: &App) -> Vec<Value> {
    let text = app.command(&["clients", "list", "--json"]).await;
    serde_json::from_str(&text).expect("JSON")
}

fn limit<'a>(row: &'a Value, name: &str) -> &'a Value {
    let limits = row["limits"].as_array().expect("a list");
    let found = limits.iter().find(|limit| limit["name"] == name);
    found.expect("the limit")
}

/// Client 1 is the one client over a quota, which is its own.
async fn is_listed_as_over(app: &App) {
    let row = eventually("it is listed as over its quota", async || {
        let mut rows = rows(app).await;
        rows.retain(|row| row["is_over"] == true);
        rows.pop()
    })
    .await;
    assert_eq!(row["client"], 1);
    let waiting = limit(&row, "waiting_bytes_max");
    assert!(waiting["used"].as_u64() >= Some(1024 * KIB as u64), "{row}");
    assert_eq!(waiting["is_own"], true);
    let list = app.command(&["clients", "list"]).await;
    let over: Vec<&str> = list.lines().filter(|line| line.contains("OVER")).collect();
    assert_eq!(over.len(), 1, "{list}");
    assert!(
        over[0].trim_start().starts_with('1') && over[0].contains("1MiB*"),
        "{list}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_one_client_hold_on_every_node_without_a_restart() {
    let app = App::start().await;
    let client = app.client(1).await;
    let other = app.client(2).await;
    let second = format!("127.0.0.1:{}", free_port());
    let mut node = app.second_with("api", &[("API__LISTEN", &second)]);
    node.ready().await;
    let http = http_client();
    let max_at = async |host: &str, client: &Client| {
        let request = http.get(format!("{host}/api/usage"));
        let answer = request.bearer_auth(&client.token).send().await;
        let usage: Value = answer.expect("an answer").json().await.expect("JSON");
        usage["waiting_bytes"]["max"].as_u64().expect("a number")
    };
    let hosts = [app.api.clone(), format!("http://{second}")];
    paused(&client).await;
    paused(&other).await;
    let default = max_at(&app.api, &client).await;

    let set = ["clients", "set", "1", "waiting_bytes_max=1MiB"];
    let said = app.command(&set).await;
    assert!(said.contains("set for this client"), "{said}");
    for host in &hosts {
        eventually_within(IN_FORCE_MAX, "the limit is in force", async || {
            (max_at(host, &client).await == 1024 * 1024).then_some(())
        })
        .await;
        assert_eq!(max_at(host, &other).await, default, "its own alone");
    }
    let mut taken = 0;
    while is_taken(&client, taken).await {
        taken += 1;
    }
    assert!((5..=8).contains(&taken), "{taken}");
    for number in 0..10 {
        assert_eq!(publish_large(&other, number).await.0, 202);
    }

    is_listed_as_over(&app).await;

    let unset = ["clients", "set", "1", "waiting_bytes_max=default"];
    app.command(&unset).await;
    eventually_within(IN_FORCE_MAX, "the setting holds again", async || {
        (publish_large(&client, 90).await.0 == 202).then_some(())
    })
    .await;
    let shown = app.command(&["clients", "show", "1"]).await;
    assert!(!shown.contains("set for this client"), "{shown}");
    assert!(rows(&app).await.iter().all(|row| row["is_over"] == false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_may_publish_at_a_rate_of_its_own() {
    let app = App::with(&[("QUOTA__MESSAGES_PER_SECOND", "1")]).await;
    let client = app.client(1).await;
    let endpoint = Receiver::answering(&[200]).await;
    client.register(PHONE, &endpoint.url("/")).await;
    app.command(&["clients", "set", "1", "messages_per_second=1000"])
        .await;
    eventually_within(IN_FORCE_MAX, "the rate is in force", async || {
        (client.get("/api/usage").await["messages_per_second"] == 1000).then_some(())
    })
    .await;
    for number in 0..20 {
        client.publish(PHONE, &format!("M{number}")).await;
    }
    endpoint.wait_for(20).await;
    app.command(&["clients", "set", "1", "messages_per_second=default"])
        .await;
    eventually_within(IN_FORCE_MAX, "the setting holds again", async || {
        (publish_large(&client, 1).await.0 == 429).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_limit_is_refused_with_its_name_and_what_would_be_right() {
    let app = App::playing("api", &[]).await;
    for (wrong, parts) in [
        (
            &["1", "waiting_bytes_max=5MB"][..],
            &["waiting_bytes_max must be", "64KiB", "default"][..],
        ),
        (
            &["1", "waiting=1MiB"],
            &["waiting_bytes_max, dead_letter_bytes_max"],
        ),
        (&["1", "messages_per_second=0"], &["1 to 100000"]),
        (&["0", "messages_per_second=1"], &["from 1 to"]),
        (
            &["1", "messages_per_second=1", "messages_per_second=2"],
            &["twice"],
        ),
    ] {
        let arguments: Vec<&str> = ["clients", "set"].iter().chain(wrong).copied().collect();
        let said = app.failing_command(&arguments).await;
        for part in parts {
            assert!(said.contains(part), "{wrong:?}: {said}");
        }
    }
    let rows = rows(&app).await;
    assert_eq!(rows, [] as [Value; 0], "nothing was set");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_tell_how_many_clients_are_over_a_quota_and_what_all_store() {
    let app = App::with(&[("QUOTA__WAITING_BYTES_MAX", "1MiB")]).await;
    let over = "wahook_clients_over_quota{quota=\"waiting\"}";
    eventually("nobody is over", async || {
        (app.metric(over).await == Some(0.0)).then_some(())
    })
    .await;
    for id in [1, 2] {
        let client = app.client(id).await;
        paused(&client).await;
        let mut number = 0;
        while is_taken(&client, number).await {
            number += 1;
        }
    }
    // A third has room.
    let third = app.client(3).await;
    paused(&third).await;
    assert_eq!(publish_large(&third, 1).await.0, 202);
    eventually("two are over", async || {
        (app.metric(over).await == Some(2.0)).then_some(())
    })
    .await;
    let used = app.metric("wahook_clients_usage_bytes{quota=\"waiting\"}");
    assert!(used.await >= Some(2.0 * 1024.0 * 1024.0));
    eventually("the stream of held messages has all", async || {
        let stored = app.nats.bytes("WA_HOLD").await as f64;
        let told = app.metric("wahook_stream_bytes{stream=\"WA_HOLD\"}").await;
        (told == Some(stored) && stored > 0.0).then_some(())
    })
    .await;
    let limit = app.metric("wahook_stream_bytes_max{stream=\"WA_HOLD\"}");
    assert_eq!(limit.await, Some(2.0 * 1024.0 * 1024.0 * 1024.0));
    assert_eq!(
        app.metric("wahook_clients_over_quota{quota=\"dead_letters\"}")
            .await,
        Some(0.0)
    );
}
