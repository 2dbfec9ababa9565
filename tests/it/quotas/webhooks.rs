//! How many webhooks a client may have.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::support::{
    app::{App, Client, eventually, http_client},
    process::free_port,
};

const URL: &str = "http://127.0.0.1:1/";

fn body(number: usize) -> Value {
    json!({"phone_number": phone(number), "webhook_url": URL})
}

fn phone(number: usize) -> String {
    format!("49151{number:08}")
}

async fn register(client: &Client, number: usize) -> (u16, Value) {
    let path = "/api/webhooks/register";
    client.call("POST", path, Some(body(number))).await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_webhooks_than_allowed_are_registered_even_at_once_on_two_nodes() {
    const MAX: usize = 5;
    let app = App::playing("api", &[("QUOTA__WEBHOOKS_MAX", "5")]).await;
    let client = app.client(1).await;
    let second = format!("127.0.0.1:{}", free_port());
    let mut node = app.second_with("api", &[("API__LISTEN", &second)]);
    node.ready().await;
    let hosts = [app.api.clone(), format!("http://{second}")];
    let http = http_client();
    let requests = (0..20).map(|number| {
        let url = format!("{}/api/webhooks/register", hosts[number % 2]);
        let request = http.post(url).bearer_auth(&client.token);
        request.json(&body(number)).send()
    });
    let mut created = Vec::new();
    for (number, answer) in join_all(requests).await.into_iter().enumerate() {
        let answer = answer.expect("an answer");
        let status = answer.status().as_u16();
        if status == 201 {
            created.push(number);
            continue;
        }
        let problem: Value = answer.json().await.expect("a problem");
        assert_eq!(
            (status, &problem["code"]),
            (429, &json!("quota")),
            "{problem}"
        );
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(
            detail.contains("quota.webhooks_max") && detail.contains("delete"),
            "{problem}"
        );
    }
    assert_eq!(created.len(), MAX, "{created:?}");
    let usage = client.get("/api/usage").await;
    assert_eq!(usage["webhooks"], json!({"used": MAX, "max": MAX}));

    // What exists is changed, another client has its own, and one that is deleted makes room.
    assert_eq!(register(&client, created[0]).await.0, 200);
    let other = app.client(2).await;
    assert_eq!(register(&other, 50).await.0, 201);
    let list = client.get("/api/webhooks/list").await;
    let id = list["data"][0]["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/webhooks/{id}");
    assert_eq!(client.call("DELETE", &path, None).await.0, 204);
    assert_eq!(register(&client, 60).await.0, 201);
    assert_eq!(register(&client, 61).await.0, 429);

    let shown = app.command(&["clients", "show", "1"]).await;
    assert!(
        shown.contains("5 of 5") && shown.contains("OVER"),
        "{shown}"
    );
    app.command(&["clients", "set", "1", "webhooks_max=6"])
        .await;
    eventually("the limit is in force", async || {
        (register(&client, 61).await.0 == 201).then_some(())
    })
    .await;
    assert_eq!(register(&client, 62).await.0, 429);
}
