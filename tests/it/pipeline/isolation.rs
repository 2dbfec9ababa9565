//! Client B never sees what is client A's, on any route.

use serde_json::json;

use crate::support::{app::App, receiver::Receiver};

const PHONE: &str = "4915112345678";

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_id_answers_like_an_absent_one_on_every_route() {
    let app = App::start().await;
    let ann = app.client(1).await;
    let bob = app.client(2).await;
    let receiver = Receiver::answering(&[400]).await;
    let webhook = ann.register(PHONE, &receiver.url("/")).await;
    ann.publish(PHONE, "M1").await;
    let event = ann.event_when(&webhook, "M1", "failed").await;
    let webhook_id = webhook["id"].as_str().expect("an id");
    let event_id = event["id"].as_str().expect("an id");
    let absent_webhook = "01900000-0000-7000-8000-000000000000";
    let absent_event = format!("evt_{}", "0".repeat(44));

    let mut routes = 0;
    for (method, path, _) in wahook::api::routes() {
        if !path.contains('{') {
            continue;
        }
        let fill = |webhook: &str, event: &str| {
            path.replace("{webhook_id}", webhook)
                .replace("{event_id}", event)
        };
        let body = match &path[..] {
            _ if method == "PATCH" => Some(json!({"is_active": false})),
            "/api/webhooks/{webhook_id}/replay" => Some(json!({})),
            _ => None,
        };
        let foreign = bob
            .call(&method, &fill(webhook_id, event_id), body.clone())
            .await;
        let absent = bob
            .call(&method, &fill(absent_webhook, &absent_event), body)
            .await;
        assert_eq!(foreign.0, 404, "{method} {path}");
        let told = |answer: &serde_json::Value| {
            (
                answer["code"].clone(),
                answer["title"].clone(),
                answer["detail"].clone(),
            )
        };
        assert_eq!(told(&foreign.1), told(&absent.1), "{method} {path}");
        routes += 1;
    }
    assert!(routes >= 8, "only {routes} routes have an id");

    assert_eq!(bob.get("/api/webhooks/list").await["data"], json!([]));
    assert_eq!(bob.get("/api/dead-letters").await["data"], json!([]));
    assert_eq!(bob.get("/api/replays").await["data"], json!([]));
    let body = json!({"phone_number": PHONE, "message_id": "M2", "from": "4915100000001", "type": "text", "content": ""});
    let (status, _) = bob.call("POST", "/api/messages", Some(body)).await;
    assert_eq!(status, 404, "no webhook of client 2 for this number");
    // Nothing of the above changed anything for its owner.
    let shown = ann.get(&format!("/api/webhooks/{webhook_id}")).await;
    assert_eq!(shown["is_active"], true);
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_number_of_two_clients_is_two_webhooks() {
    let app = App::start().await;
    let ann = app.client(1).await;
    let bob = app.client(2).await;
    let of_ann = Receiver::answering(&[200]).await;
    let of_bob = Receiver::answering(&[200]).await;
    let webhook_of_ann = ann.register(PHONE, &of_ann.url("/")).await;
    let webhook_of_bob = bob.register(PHONE, &of_bob.url("/")).await;
    assert_ne!(webhook_of_ann["id"], webhook_of_bob["id"]);
    ann.publish(PHONE, "A1").await;
    bob.publish(PHONE, "B1").await;
    ann.event_when(&webhook_of_ann, "A1", "delivered").await;
    bob.event_when(&webhook_of_bob, "B1", "delivered").await;
    let ids = |receiver: &Receiver| -> Vec<_> {
        receiver
            .received()
            .iter()
            .map(|one| one.json()["message_id"].clone())
            .collect()
    };
    assert_eq!(
        (ids(&of_ann), ids(&of_bob)),
        (vec![json!("A1")], vec![json!("B1")])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_may_only_what_its_scopes_say() {
    let app = App::start().await;
    let reader = app.client_with(1, &["webhooks:read"]).await;
    assert_eq!(reader.call("GET", "/api/webhooks/list", None).await.0, 200);
    let body = json!({"phone_number": PHONE, "webhook_url": "http://127.0.0.1:1/"});
    let (status, problem) = reader
        .call("POST", "/api/webhooks/register", Some(body))
        .await;
    assert_eq!((status, &problem["code"]), (403, &json!("missing_scope")));
    for (method, path, scope) in wahook::api::routes() {
        if scope.as_str() == "webhooks:read" {
            continue;
        }
        let path = path.replace("{webhook_id}", "01900000-0000-7000-8000-000000000000");
        let path = path.replace("{event_id}", &format!("evt_{}", "0".repeat(44)));
        let (status, problem) = reader.call(&method, &path, Some(json!({}))).await;
        assert_eq!(status, 403, "{method} {path}: {problem}");
    }
    let list = app.command(&["token", "list"]).await;
    let id = list.split('\t').next().expect("an id");
    app.command(&["token", "revoke", id]).await;
    assert_eq!(reader.call("GET", "/api/webhooks/list", None).await.0, 401);
}
