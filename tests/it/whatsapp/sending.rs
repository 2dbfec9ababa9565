//! Sending through a session, and what becomes of it.

use std::collections::BTreeSet;

use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use whatsapp_rust::prelude::MessageExt;

use super::{Linked, PHONE, STEP_MAX};
use crate::support::{
    app::{App, Client, http_client},
    receiver::Receiver,
};

const BOB: &str = "4915200000009";

pub(super) async fn send(
    linked: &Linked,
    key: Option<&str>,
    body: Value,
) -> (u16, HeaderMap, Value) {
    send_through(&linked.app, &linked.client, key, body).await
}

pub(super) async fn send_through(
    app: &App,
    client: &Client,
    key: Option<&str>,
    body: Value,
) -> (u16, HeaderMap, Value) {
    let mut request = http_client()
        .post(format!("{}/api/messages/send", app.api))
        .json(&body);
    if let Some(key) = key {
        request = request.header("idempotency-key", key);
    }
    let answer = request
        .bearer_auth(&client.token)
        .send()
        .await
        .expect("the API answers");
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    (status, headers, answer.json().await.expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_is_sent_and_its_receipts_come_to_those_who_ask() {
    let linked = Linked::start().await;
    let receiver = Receiver::answering(&[200]).await;
    let body = json!({
        "phone_number": PHONE,
        "webhook_url": receiver.url("/"),
        "event_types": ["receipt", "message"],
    });
    let webhook = linked.client.register_with(body).await;
    assert_eq!(webhook["event_types"], json!(["message", "receipt"]));
    let bob = linked.server.contact(BOB, "Bob");
    let reply = json!({"message_id": "Q1", "from": BOB});
    let body = json!({"phone_number": PHONE, "to": BOB, "text": "hi bob", "reply_to": reply});
    let (status, _, answer) = send(&linked, None, body).await;
    assert_eq!(
        (status, &answer["status"]),
        (202, &json!("sent")),
        "{answer}"
    );
    let (id, message) = bob
        .receive(&linked.device, STEP_MAX)
        .await
        .expect("Bob can read it");
    assert_eq!(
        (answer["message_id"].as_str(), message.text_content()),
        (Some(id.as_str()), Some("hi bob"))
    );
    let quoted = message.extended_text_message.context_info.stanza_id.clone();
    assert_eq!(quoted.as_deref(), Some("Q1"));
    for kind in ["delivery", "read"] {
        bob.receipt(&linked.device, &id, kind);
    }
    let received: Vec<Value> = receiver
        .wait_for(3)
        .await
        .iter()
        .map(|one| one.json())
        .collect();
    let statuses: BTreeSet<_> = received
        .iter()
        .filter_map(|one| one["content"].as_str())
        .collect();
    assert_eq!(statuses, ["server", "delivered", "read"].into());
    for one in received {
        assert_eq!(
            (&one["type"], &one["message_id"], &one["from"]),
            (&json!("receipt"), &json!(id), &json!(BOB))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_stands_for_one_message_and_a_session_has_its_pace() {
    let linked = Linked::with(&[("WHATSAPP__SENDS_PER_MINUTE", "1")]).await;
    let (_, receiver) = linked.webhook().await;
    linked.server.contact(BOB, "Bob");
    let body = |text: &str| json!({"session_id": linked.session, "to": BOB, "text": text});
    let (status, _, first) = send(&linked, Some("order-17"), body("one")).await;
    assert_eq!(status, 202, "{first}");
    let (status, _, again) = send(&linked, Some("order-17"), body("one")).await;
    assert_eq!((status, &again["message_id"]), (202, &first["message_id"]));
    let (status, _, other) = send(&linked, Some("order-17"), body("two")).await;
    assert_eq!((status, &other["code"]), (422, &json!("key_reused")));
    // The second was answered from memory.
    for number in 0..4 {
        let (status, _, answer) = send(&linked, None, body(&number.to_string())).await;
        assert_eq!(status, 202, "{answer}");
    }
    let (status, headers, answer) = send(&linked, None, body("too fast")).await;
    assert_eq!(
        (status, &answer["code"]),
        (429, &json!("too_many_requests"))
    );
    let wait: u64 = headers["retry-after"]
        .to_str()
        .ok()
        .and_then(|text| text.parse().ok())
        .expect("seconds");
    assert!((50..=62).contains(&wait), "{wait}");
    assert!(receiver.received().is_empty(), "nobody asked for receipts");
}

/// Serves a file at `/file` and says what it is.
pub(super) async fn file_server(content_type: &'static str, bytes: Vec<u8>) -> String {
    let answer = move || async move { ([("content-type", content_type)], bytes) };
    let router = axum::Router::new().route("/file", axum::routing::get(answer));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a free port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}/file")
}

#[tokio::test(flavor = "multi_thread")]
async fn files_are_fetched_and_sent() {
    let linked = Linked::start().await;
    let bob = linked.server.contact(BOB, "Bob");
    let bytes = vec![9_u8; 40_000];
    let image = file_server("image/png; a=b", bytes.clone()).await;
    let body =
        json!({"session_id": linked.session, "to": BOB, "text": "look", "media": {"url": image}});
    let (status, _, answer) = send(&linked, None, body).await;
    assert_eq!(
        (status, &answer["status"]),
        (202, &json!("sent")),
        "{answer}"
    );
    let (_, message) = bob
        .receive(&linked.device, STEP_MAX)
        .await
        .expect("Bob can read it");
    let image = message.image_message.as_option().expect("an image");
    assert_eq!(
        (image.caption.as_deref(), image.mimetype.as_deref()),
        (Some("look"), Some("image/png"))
    );
    assert_eq!(
        linked.server.open(message).expect("stored at WhatsApp"),
        bytes
    );

    let pdf = file_server("application/pdf", bytes).await;
    let media = json!({"url": pdf, "file_name": "a.pdf"});
    let (status, _, answer) = send(
        &linked,
        None,
        json!({"session_id": linked.session, "to": BOB, "media": media}),
    )
    .await;
    assert_eq!(status, 202, "{answer}");
    let (_, message) = bob
        .receive(&linked.device, STEP_MAX)
        .await
        .expect("Bob can read it");
    assert_eq!(
        message
            .document_message
            .as_option()
            .and_then(|one| one.file_name.as_deref()),
        Some("a.pdf")
    );
    files_that_cannot_be_had_are_named(&linked, &pdf).await;
}

async fn files_that_cannot_be_had_are_named(linked: &Linked, pdf: &str) {
    for (url, word) in [
        (pdf.replace("/file", "/none"), "404"),
        ("http://10.0.0.1/x".to_owned(), ""),
    ] {
        let media = json!({"url": url});
        let (status, _, answer) = send(
            linked,
            None,
            json!({"session_id": linked.session, "to": BOB, "media": media}),
        )
        .await;
        let error = &answer["errors"][0];
        assert_eq!(
            (status, &error["pointer"]),
            (400, &json!("/media/url")),
            "{answer}"
        );
        assert!(
            error["detail"]
                .as_str()
                .is_some_and(|detail| detail.contains(word)),
            "{answer}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_holds_what_was_sent_and_frees_what_was_not() {
    let linked = Linked::start().await;
    let bob = linked.server.contact(BOB, "Bob");
    let body = |text: &str| json!({"session_id": linked.session, "to": BOB, "text": text});
    let (status, _, first) = send(&linked, Some("k1"), body("one")).await;
    assert_eq!((status, &first["status"]), (202, &json!("sent")), "{first}");
    let (status, _, again) = send(&linked, Some("k1"), body("one")).await;
    assert_eq!((status, again), (202, first), "answered from memory");

    // A file that cannot be had: nothing is sent, and the key is free for another message.
    let media = json!({
        "session_id": linked.session,
        "to": BOB,
        "media": {"url": "http://127.0.0.1:9/none"},
    });
    let (status, _, answer) = send(&linked, Some("k2"), media).await;
    assert_eq!(
        (status, &answer["errors"][0]["pointer"]),
        (400, &json!("/media/url")),
        "{answer}"
    );
    let (status, _, second) = send(&linked, Some("k2"), body("two")).await;
    assert_eq!(
        (status, &second["status"]),
        (202, &json!("sent")),
        "{second}"
    );
    let (status, _, answer) = send(&linked, Some("k2"), body("three")).await;
    assert_eq!((status, &answer["code"]), (422, &json!("key_reused")));

    for text in ["one", "two"] {
        let (_, message) = bob
            .receive(&linked.device, STEP_MAX)
            .await
            .expect("Bob can read it");
        assert_eq!(message.text_content(), Some(text));
    }
    assert_eq!(
        linked.device.messages_sent(),
        2,
        "nothing was handed to WhatsApp twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_reads_what_is_sent_to_it() {
    let linked = Linked::start().await;
    let bob = linked.server.contact(BOB, "Bob");
    let carol = linked.server.contact("4915200000008", "Carol");
    let group = "120363000000000002@g.us";
    linked.server.group(group, PHONE, &[&bob, &carol]);
    // The first brings the key for the group along, the second needs it.
    for text in ["hello all", "and again"] {
        let body = json!({"session_id": linked.session, "to": group, "text": text});
        let (status, _, answer) = send(&linked, None, body).await;
        assert_eq!(
            (status, &answer["status"]),
            (202, &json!("sent")),
            "{answer}"
        );
        for member in [&bob, &carol] {
            let (id, message) = member
                .receive(&linked.device, STEP_MAX)
                .await
                .expect("every member can read it");
            assert_eq!(
                (answer["message_id"].as_str(), message.text_content()),
                (Some(id.as_str()), Some(text))
            );
        }
    }
    let body = json!({"session_id": linked.session, "to": "120363000000000099@g.us", "text": "x"});
    let (status, _, answer) = send(&linked, None, body).await;
    assert_eq!(
        (status, &answer["errors"][0]["pointer"]),
        (400, &json!("/to")),
        "a group it is not in: {answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_sent_is_refused_with_the_reason() {
    let linked = Linked::start().await;
    let cases = [
        (
            json!({"session_id": linked.session, "to": "nobody", "text": "x"}),
            400,
            "/to",
        ),
        (
            json!({"session_id": linked.session, "to": BOB, "text": ""}),
            400,
            "/text",
        ),
        (json!({"to": BOB, "text": "x"}), 400, "/session_id"),
        (
            json!({"phone_number": "4915100000000", "to": BOB, "text": "x"}),
            404,
            "",
        ),
    ];
    for (body, expected, pointer) in cases {
        let (status, _, answer) = send(&linked, None, body).await;
        assert_eq!(status, expected, "{answer}");
        assert_eq!(
            answer["errors"][0]["pointer"].as_str().unwrap_or_default(),
            pointer
        );
    }
    let stranger = linked.app.client(2).await;
    let body = json!({"session_id": linked.session, "to": BOB, "text": "x"});
    let (status, _) = stranger
        .call("POST", "/api/messages/send", Some(body.clone()))
        .await;
    assert_eq!(status, 404);
    linked.device.replace();
    super::when(&linked.client, &linked.session, "replaced").await;
    let (status, _, answer) = send(&linked, None, body).await;
    assert_eq!((status, &answer["code"]), (409, &json!("not_connected")));
}
