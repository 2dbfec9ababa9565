//! Client B never sees what is client A's, on any route.

use serde_json::{Value, json};
use whatsapp_sim::Server;

use crate::{
    support::{
        app::{App, Client},
        receiver::Receiver,
    },
    whatsapp::link,
};

const PHONE: &str = "4915112345678";
const LINKED: &str = "4915187654321";

/// One id for each placeholder in the routes' paths.
struct Ids(Vec<(&'static str, String)>);

impl Ids {
    /// The path with every placeholder filled in.
    fn fill(&self, path: &str) -> String {
        let filled = self
            .0
            .iter()
            .fold(path.to_owned(), |path, (name, id)| path.replace(name, id));
        assert!(
            !filled.contains('{'),
            "{path} has a placeholder without an id"
        );
        filled
    }
}

fn absent_ids() -> Ids {
    let uuid = "01900000-0000-7000-8000-000000000000".to_owned();
    Ids(vec![
        ("{webhook_id}", uuid.clone()),
        ("{event_id}", format!("evt_{}", "0".repeat(44))),
        ("{session_id}", uuid.clone()),
        ("{replay_id}", uuid),
        ("{media_id}", "A".repeat(64)),
        ("{phone_number}", "4915299999999".to_owned()),
        ("{lid}", "90000000000009@lid".to_owned()),
    ])
}

/// A webhook with a failed event, a linked session, a replay and a media file of this client.
async fn own_ids(ann: &Client, server: &Server, receiver: &Receiver) -> Ids {
    let (session, device) = link(ann, server, json!({}), LINKED).await;
    let at_linked = Receiver::answering(&[200]).await;
    ann.register(LINKED, &at_linked.url("/")).await;
    let image = server.image(&[7; 1000], "look").expect("an image");
    let alice = server.contact("4915200000001", "Alice");
    alice.send(&device, image).await.expect("sent");
    let image = at_linked.wait_for(1).await.remove(0).json();

    let webhook = ann.register(PHONE, &receiver.url("/")).await;
    ann.publish(PHONE, "M1").await;
    let event = ann.event_when(&webhook, "M1", "failed").await;
    // Of a kind that there is none of: it sends nothing.
    let (status, replay) = ann
        .call("POST", "/api/replays", Some(json!({"type": "poll"})))
        .await;
    assert_eq!(status, 202, "{replay}");
    let text = |value: &Value| value.as_str().expect("an id").to_owned();
    Ids(vec![
        ("{webhook_id}", text(&webhook["id"])),
        ("{event_id}", text(&event["id"])),
        ("{session_id}", session),
        ("{replay_id}", text(&replay["id"])),
        ("{media_id}", text(&image["metadata"]["media"]["id"])),
        ("{phone_number}", "4915200000001".to_owned()),
        ("{lid}", "90000000000001@lid".to_owned()),
    ])
}

/// What a caller is told, without the ids in it.
fn told(answer: &Value) -> [Value; 3] {
    ["code", "title", "detail"].map(|field| answer[field].clone())
}

fn body_for(method: &str, path: &str) -> Option<Value> {
    match path {
        _ if method == "PATCH" => Some(json!({"is_active": false})),
        "/api/webhooks/{webhook_id}/replay" => Some(json!({})),
        "/api/sessions/{session_id}/backfill" => Some(json!({"since": "2026-01-01T00:00:00Z"})),
        "/api/sessions/{session_id}/pair-code" => Some(json!({"phone_number": LINKED})),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_id_answers_like_an_absent_one_on_every_route() {
    let server = Server::start().await.expect("a stand-in server");
    let app = App::on_whatsapp(&server, &[]).await;
    let ann = app.client(1).await;
    let bob = app.client(2).await;
    let receiver = Receiver::answering(&[400]).await;
    let foreign_ids = own_ids(&ann, &server, &receiver).await;
    let absent_ids = absent_ids();

    for (method, path, _) in wahook::api::routes() {
        if !path.contains('{') {
            continue;
        }
        let foreign_path = foreign_ids.fill(&path);
        let absent_path = absent_ids.fill(&path);
        assert_ne!(foreign_path, absent_path);
        if method == "GET" && !path.ends_with("/qr") {
            let (status, _) = ann.text(&foreign_path).await;
            assert_eq!(status, 200, "{path} is there for its owner");
        }
        let body = body_for(&method, &path);
        let foreign = bob.call(&method, &foreign_path, body.clone()).await;
        let absent = bob.call(&method, &absent_path, body).await;
        assert_eq!((foreign.0, absent.0), (404, 404), "{method} {path}");
        assert_eq!(told(&foreign.1), told(&absent.1), "{method} {path}");
    }

    for path in [
        "/api/webhooks/list",
        "/api/dead-letters",
        "/api/replays",
        "/api/sessions",
    ] {
        assert_eq!(bob.get(path).await["data"], json!([]), "{path}");
    }
    let body = json!({
        "phone_number": PHONE,
        "message_id": "M2",
        "from": "4915100000001",
        "type": "text",
        "content": ""
    });
    let (status, _) = bob.call("POST", "/api/messages", Some(body)).await;
    assert_eq!(status, 404, "no webhook of client 2 for this number");
    // Nothing of the above changed anything for its owner.
    let own_webhook = foreign_ids.fill("/api/webhooks/{webhook_id}");
    assert_eq!(ann.get(&own_webhook).await["is_active"], true);
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
