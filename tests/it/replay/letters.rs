use serde_json::{Value, json};
use wahook::model::Kind;

use super::{PHONE, counted, letter, now, record};
use crate::support::{
    app::{App, Client},
    receiver::Receiver,
};

fn ids(page: &Value) -> Vec<&str> {
    let data = page["data"].as_array().expect("a list").iter();
    data.map(|letter| letter["message_id"].as_str().expect("an id"))
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_letters_are_listed_by_webhook_type_and_time_and_shown_with_their_reason() {
    let app = App::start().await;
    let client = app.client(1).await;
    let stranger = app.client(2).await;
    let receiver = Receiver::answering(&[200]).await;
    let first = client.register(PHONE, &receiver.url("/")).await;
    let second = client.register("4915112345679", &receiver.url("/")).await;
    let kind = |age| match age % 3 {
        0 => Kind::Image,
        _ => Kind::Text,
    };
    let now = now();
    let letters: Vec<_> = (1..=6)
        .map(|age| letter(&first, now, age * 60_000, &kind(age)))
        .collect();
    record(&app.nats.bus().await, &letters).await;
    record(
        &app.nats.bus().await,
        &[letter(&second, now, 90_000, &Kind::Text)],
    )
    .await;
    counted(&client, 7).await;

    let all = client.get("/api/dead-letters").await;
    assert_eq!(
        ids(&all),
        [
            "D60000", "D90000", "D120000", "D180000", "D240000", "D300000", "D360000"
        ]
    );
    let of_second = client
        .get(&format!(
            "/api/dead-letters?webhook_id={}",
            second["id"].as_str().expect("id")
        ))
        .await;
    assert_eq!(ids(&of_second), ["D90000"]);
    let images = client.get("/api/dead-letters?type=image").await;
    assert_eq!(ids(&images), ["D180000", "D360000"]);
    let at = |age: i64| {
        letters[usize::try_from(age - 1).expect("small")]
            .delivery
            .created_at
    };
    let between = client
        .get(&format!(
            "/api/dead-letters?since={}&until={}",
            at(5),
            at(3)
        ))
        .await;
    assert_eq!(
        ids(&between),
        ["D240000", "D300000"],
        "since is inclusive, until exclusive"
    );
    assert_eq!(between["has_more"], false);

    pages_and_faults(&client).await;

    let id = all["data"][0]["id"].as_str().expect("an id");
    is_shown_and_tried_again(&client, &stranger, &first, id).await;
}

/// A list with a filter goes on where it stopped, and wrong filters are named.
async fn pages_and_faults(client: &Client) {
    let mut seen = Vec::new();
    let mut query = "?type=text&limit=2".to_owned();
    loop {
        let page = client.get(&format!("/api/dead-letters{query}")).await;
        seen.extend(ids(&page).into_iter().map(str::to_owned));
        let Some(cursor) = page["next_cursor"].as_str() else {
            break;
        };
        query = format!("?type=text&limit=2&cursor={cursor}");
    }
    assert_eq!(seen, ["D60000", "D90000", "D120000", "D240000", "D300000"]);
    for wrong in [
        "type=txet",
        "since=yesterday",
        "webhook_id=7",
        "limit=0",
        "unheard_of=1",
    ] {
        let (status, body) = client
            .call("GET", &format!("/api/dead-letters?{wrong}"), None)
            .await;
        assert_eq!(
            (status, &body["code"]),
            (400, &json!("invalid_request")),
            "{wrong}"
        );
    }
}

/// One letter: its reason, who may see it, and its retry.
async fn is_shown_and_tried_again(client: &Client, stranger: &Client, first: &Value, id: &str) {
    let shown = client.get(&format!("/api/dead-letters/{id}")).await;
    assert_eq!(
        (
            &shown["reason"],
            &shown["http_status"],
            &shown["response"],
            &shown["status"]
        ),
        (
            &json!("answered 503"),
            &json!(503),
            &json!("not today"),
            &json!("failed")
        )
    );
    assert!(shown["given_up_at"].is_string() && shown["attempts"].is_array());
    assert_eq!(
        stranger
            .call("GET", &format!("/api/dead-letters/{id}"), None)
            .await
            .0,
        404
    );
    let foreign = format!(
        "/api/dead-letters?webhook_id={}",
        first["id"].as_str().expect("an id")
    );
    assert_eq!(stranger.call("GET", &foreign, None).await.0, 404);

    // Tried again by hand, and delivered, it is none any more.
    assert_eq!(
        client
            .call("POST", &format!("/api/webhooks/events/{id}/retry"), None)
            .await
            .0,
        202
    );
    let event = client.event_when(first, "D60000", "delivered").await;
    assert_eq!(
        event["attempts"]
            .as_array()
            .and_then(|all| all.last())
            .expect("attempts")["number"],
        3
    );
    assert_eq!(
        client
            .call("GET", &format!("/api/dead-letters/{id}"), None)
            .await
            .0,
        404
    );
}
