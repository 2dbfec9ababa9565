//! What is refused before anything is sent, each with its field.

use serde_json::{Value, json};

use super::{
    Linked,
    sending::send,
    sending_kinds::{BOB, GROUP, post},
};

/// What is asked for beside the session and the receiver, and the field that is named.
const REFUSED: &[(&str, &str)] = &[
    (r#"{}"#, "/text"),
    (
        r#"{"location": {"latitude": 90.1, "longitude": 0}}"#,
        "/location/latitude",
    ),
    (
        r#"{"location": {"latitude": 0, "longitude": -181}}"#,
        "/location/longitude",
    ),
    (
        r#"{"location": {"latitude": 0, "longitude": 0, "name": ""}}"#,
        "/location/name",
    ),
    (
        r#"{"location": {"latitude": 0, "longitude": 0}, "text": "x"}"#,
        "/text",
    ),
    (r#"{"location": {"latitude": 0}}"#, "/location/longitude"),
    (
        r#"{"location": {"latitude": "0", "longitude": 0}}"#,
        "/location/latitude",
    ),
    (r#"{"contacts": []}"#, "/contacts"),
    (
        r#"{"contacts": [{"name": "A"}]}"#,
        "/contacts/0/phone_number",
    ),
    (
        r#"{"contacts": [{"name": "A", "phone_number": "+49"}]}"#,
        "/contacts/0/phone_number",
    ),
    (
        r#"{"contacts": [{"name": "A", "vcard": "x"}]}"#,
        "/contacts/0/vcard",
    ),
    (
        r#"{"poll": {"question": "?", "options": ["a"]}}"#,
        "/poll/options",
    ),
    (
        r#"{"poll": {"question": "?", "options": ["", "b"]}}"#,
        "/poll/options/0",
    ),
    (
        r#"{"poll": {"question": "?", "options": ["a", "a"]}}"#,
        "/poll/options/1",
    ),
    (
        r#"{"poll": {"question": "", "options": ["a", "b"]}}"#,
        "/poll/question",
    ),
    (
        r#"{"poll": {"question": "?", "options": ["a", "b"], "selectable": 3}}"#,
        "/poll/selectable",
    ),
    (
        r#"{"reaction": {"message_id": "A", "emoji": "👍"}}"#,
        "/reaction/from",
    ),
    (
        r#"{"reaction": {"message_id": "A", "from": "12345@g.us", "emoji": "👍"}}"#,
        "/reaction/from",
    ),
    (
        r#"{"reaction": {"message_id": "", "from": "4915200000009", "emoji": "👍"}}"#,
        "/reaction/message_id",
    ),
    (
        r#"{"reaction": {"message_id": "A", "from_me": true, "emoji": "seventeen letters"}}"#,
        "/reaction/emoji",
    ),
    (r#"{"edit": {"message_id": "A"}}"#, "/text"),
    (
        r#"{"edit": {"message_id": "A", "from": "4915200000009"}, "text": "x"}"#,
        "/edit/from",
    ),
    (r#"{"delete": {"message_id": "A"}}"#, "/delete/from"),
    (
        r#"{"delete": {"message_id": "A", "from_me": true}, "reply_to": {"message_id": "B"}}"#,
        "/reply_to",
    ),
    (
        r#"{"contacts": [], "delete": {"message_id": "A", "from_me": true}}"#,
        "/delete",
    ),
    (
        r#"{"media": {"url": "https://example.com/a", "shown_as": "poster"}}"#,
        "/media/shown_as",
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_sent_is_refused_with_its_field() {
    let linked = Linked::start().await;
    for (what, pointer) in REFUSED {
        let mut body: Value = serde_json::from_str(what).expect(what);
        body["session_id"] = json!(linked.session);
        body["to"] = json!(BOB);
        let (status, _, answer) = send(&linked, None, body).await;
        let named = &answer["errors"][0]["pointer"];
        assert_eq!((status, named), (400, &json!(pointer)), "{what}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_shown_is_refused_with_its_field() {
    let linked = Linked::start().await;
    let refused = [
        (
            "read",
            json!({"chat": GROUP, "message_ids": ["A1"]}),
            "/from",
        ),
        (
            "read",
            json!({"chat": BOB, "message_ids": []}),
            "/message_ids",
        ),
        (
            "read",
            json!({"chat": BOB, "message_ids": ["a b"]}),
            "/message_ids/0",
        ),
        ("read", json!({"chat": "x", "message_ids": ["A"]}), "/chat"),
        ("typing", json!({"to": BOB, "state": "dancing"}), "/state"),
        ("typing", json!({"to": "x", "state": "paused"}), "/to"),
        (
            "typing",
            json!({"to": "status@broadcast", "state": "composing"}),
            "/to",
        ),
        (
            "typing",
            json!({"to": "1700000000@broadcast", "state": "composing"}),
            "/to",
        ),
        (
            "typing",
            json!({"to": "120363000000000009@newsletter", "state": "paused"}),
            "/to",
        ),
    ];
    for (what, body, pointer) in refused {
        let (status, answer) = post(&linked, &format!("/api/chats/{what}"), body).await;
        assert_eq!(
            (status, &answer["errors"][0]["pointer"]),
            (400, &json!(pointer)),
            "{answer}"
        );
    }
}
