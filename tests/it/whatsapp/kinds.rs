//! Every kind of message arrives at the webhook with what it says.

use serde_json::{Value, json};
use whatsapp_rust::{prelude::MessageField, waproto::whatsapp as wa};
use whatsapp_sim::{Server, content};

use super::{Linked, PHONE, STEP_MAX};
use crate::support::app::eventually;

const ALICE: &str = "4915200000001";
const GROUP: &str = "120363000000000001@g.us";

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_arrives_with_what_it_says() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let server = &linked.server;
    let device = &linked.device;
    let alice = server.contact(ALICE, "Alice\r\nX");
    let file = vec![7_u8; 70_000];
    let image = server.image(&file, "look").expect("an image");
    let sent = media(server, &file, &image)
        .into_iter()
        .chain(others())
        .chain(wrapped());
    for (message, kind, text, metadata) in sent {
        let before = receiver.received().len();
        let id = alice.send(device, message).await.expect("sent");
        let received = receiver.wait_for(before + 1).await.remove(before).json();
        assert_eq!(
            (&received["type"], &received["content"]),
            (&json!(kind), &json!(text)),
            "{received}"
        );
        assert_eq!(
            (&received["message_id"], &received["from"], &received["to"]),
            (&json!(id), &json!(ALICE), &json!(PHONE))
        );
        assert_eq!(received["metadata"]["push_name"], "Alice\r\nX");
        contains(&received["metadata"], &metadata);
        device
            .wait_acked(&id, STEP_MAX)
            .await
            .expect("acknowledged");
    }
    download(&linked, &receiver.received()[2].json(), &file).await;
    linked.server.forget_image(&image);
    let id = receiver.received()[2].json()["metadata"]["media"]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let (status, answer) = linked
        .client
        .call("GET", &format!("/api/media/{id}"), None)
        .await;
    assert_eq!((status, &answer["code"]), (502, &json!("media_gone")));
}

/// A message, and what its webhook says: type, content, and fields of the metadata.
type Said = (wa::Message, &'static str, &'static str, Value);

fn media(server: &Server, file: &[u8], image: &wa::Message) -> Vec<Said> {
    vec![
        (content::text("héllo 👋\n"), "text", "héllo 👋\n", json!({})),
        (
            content::quote("yes", "Q1", PHONE),
            "text",
            "yes",
            json!({"quoted": {"message_id": "Q1", "from": PHONE}}),
        ),
        (
            image.clone(),
            "image",
            "look",
            json!({"media": {"mime_type": "image/jpeg", "size": 70_000}}),
        ),
        (
            server.video(file, "see").expect("a video"),
            "video",
            "see",
            json!({"media": {"seconds": 3}}),
        ),
        (
            server.voice(file).expect("a voice"),
            "audio",
            "",
            json!({"media": {"voice": true, "seconds": 2}}),
        ),
        (
            server.document(file, "a.pdf").expect("a document"),
            "document",
            "",
            json!({"media": {"file_name": "a.pdf"}}),
        ),
        (
            server.sticker(file).expect("a sticker"),
            "sticker",
            "",
            json!({"media": {"mime_type": "image/webp"}}),
        ),
    ]
}

fn others() -> Vec<Said> {
    vec![
        (
            content::location(52.5, 13.4, "Berlin"),
            "location",
            "Berlin",
            json!({"location": {"latitude": 52.5}}),
        ),
        (
            content::contact("Bob", "BEGIN:VCARD"),
            "contact",
            "Bob",
            json!({"contacts": [{"name": "Bob"}]}),
        ),
        (
            content::reaction("M9", "👍"),
            "reaction",
            "👍",
            json!({"reaction": {"message_id": "M9", "removed": false}}),
        ),
        (
            content::poll("Tea?", &["yes", "no"]),
            "poll",
            "Tea?",
            json!({"poll": {"options": ["yes", "no"]}}),
        ),
        (
            content::edit("M9", "new"),
            "edit",
            "new",
            json!({"edited_message_id": "M9"}),
        ),
        (
            content::revoke("M9"),
            "revoke",
            "",
            json!({"revoked_message_id": "M9"}),
        ),
        (
            content::button_reply("b1", "Yes"),
            "button_reply",
            "Yes",
            json!({"button": {"id": "b1"}}),
        ),
        (
            content::list_reply("r1", "Row"),
            "list_reply",
            "Row",
            json!({"list": {"row_id": "r1"}}),
        ),
        (Default::default(), "unknown", "", json!({})),
    ]
}

/// In wrappers, and of businesses.
fn wrapped() -> Vec<Said> {
    vec![
        (
            wa::Message {
                lottie_sticker_message: inside(wa::Message {
                    sticker_message: MessageField::some(wa::message::StickerMessage::default()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            "sticker",
            "",
            json!({}),
        ),
        (
            wa::Message {
                group_mentioned_message: inside(wa::Message {
                    ephemeral_message: inside(content::text("see @group")),
                    ..Default::default()
                }),
                ..Default::default()
            },
            "text",
            "see @group",
            json!({}),
        ),
        (
            wa::Message {
                buttons_message: MessageField::some(wa::message::ButtonsMessage {
                    content_text: Some("Choose".to_owned()),
                    ..Default::default()
                }),
                ..Default::default()
            },
            "buttons",
            "Choose",
            json!({"interactive": {}}),
        ),
    ]
}

fn inside(message: wa::Message) -> MessageField<wa::message::FutureProofMessage> {
    MessageField::some(wa::message::FutureProofMessage {
        message: MessageField::some(message),
    })
}

/// Every field of the second is in the first, at any depth.
fn contains(found: &Value, expected: &Value) {
    match expected {
        Value::Object(fields) => fields
            .iter()
            .for_each(|(name, value)| contains(&found[name], value)),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(at, value)| contains(&found[at], value)),
        value => assert_eq!(found, value),
    }
}

async fn download(linked: &Linked, received: &Value, file: &[u8]) {
    let id = received["metadata"]["media"]["id"]
        .as_str()
        .expect("a media id");
    let path = format!("{}/api/media/{id}", linked.app.api);
    let get = |token: String| {
        crate::support::app::http_client()
            .get(&path)
            .bearer_auth(token)
            .send()
    };
    let answer = get(linked.client.token.clone())
        .await
        .expect("the API answers");
    assert_eq!(answer.status(), 200);
    assert!(answer.bytes().await.expect("a whole body") == file);
    let stranger = linked.app.client(2).await;
    assert_eq!(
        get(stranger.token).await.expect("the API answers").status(),
        404,
        "another client's id"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_is_streamed_and_outlasts_the_request_timeout() {
    let linked = Linked::with(&[("API__REQUEST_TIMEOUT", "2s")]).await;
    let (_, receiver) = linked.webhook().await;
    let file = vec![7_u8; 48 * 1024 * 1024];
    let message = linked.server.image(&file, "large").expect("an image");
    linked
        .server
        .contact(ALICE, "Alice")
        .send(&linked.device, message)
        .await
        .expect("sent");
    let received = receiver.wait_for(1).await.remove(0).json();
    // Three seconds and more.
    linked
        .server
        .pace_files(192 * 1024, std::time::Duration::from_millis(12));
    let began = std::time::Instant::now();
    let grown = linked
        .app
        .rss_growth(download(&linked, &received, &file))
        .await;
    assert!(began.elapsed().as_secs() >= 3, "{:?}", began.elapsed());
    // The rest of it works, too, and on a slow machine that takes some MiB; a whole file would
    // show.
    assert!(
        grown < 24 * 1024 * 1024,
        "{grown} bytes more for {} bytes of file",
        file.len()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn senders_are_phone_numbers_where_whatsapp_tells_them() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let server = &linked.server;
    let device = &linked.device;
    let known = server.hidden_contact("4915200000002", "90002", "Known", true);
    let hidden = server.hidden_contact("4915200000003", "90003", "Hidden", false);
    known
        .send(device, content::text("one"))
        .await
        .expect("sent");
    let one = receiver.wait_for(1).await.remove(0).json();
    assert_eq!(
        (&one["from"], &one["metadata"]["chat"]),
        (&json!("4915200000002"), &json!("4915200000002"))
    );
    assert_eq!(one["metadata"]["from_is_hidden"], Value::Null);
    hidden
        .send(device, content::text("two"))
        .await
        .expect("sent");
    let two = receiver.wait_for(2).await.remove(1).json();
    assert_eq!(
        (&two["from"], &two["metadata"]["from_is_hidden"]),
        (&json!("90003@lid"), &json!(true))
    );
    for (at, text) in [(2, "three"), (3, "four")] {
        known
            .send_group(device, GROUP, content::text(text))
            .await
            .expect("sent");
        let group = receiver.wait_for(at + 1).await.remove(at).json();
        assert_eq!(
            (&group["content"], &group["from"]),
            (&json!(text), &json!("4915200000002"))
        );
        assert_eq!(
            (&group["metadata"]["chat"], &group["metadata"]["is_group"]),
            (&json!(GROUP), &json!(true))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_undecryptable_message_arrives_once_it_is_sent_again() {
    let linked = Linked::start().await;
    let (_, receiver) = linked.webhook().await;
    let alice = linked.server.contact(ALICE, "Alice");
    let id = alice
        .send_corrupt(&linked.device, content::text("second try"))
        .await
        .expect("sent twice");
    // Usually the webhook is told first that it cannot be read.
    let contents = || -> Vec<Value> {
        let all = receiver.received();
        let all = all.iter().map(|one| one.json());
        all.filter(|one| one["type"] != "unavailable").collect()
    };
    let received = eventually("it has come", async || contents().pop()).await;
    assert_eq!(
        (&received["message_id"], &received["content"]),
        (&json!(id), &json!("second try"))
    );
    linked
        .device
        .wait_acked(&id, STEP_MAX)
        .await
        .expect("acknowledged");
    assert_eq!(contents().len(), 1);
}
