//! The format of Meta's Cloud API.

use serde_json::{Value, json};

use super::{image, meets, message, receipt, render};
use crate::{
    model::{Format, Kind},
    wire::{BODY_BYTES_MAX, summarize_body},
};

const VALUE: &str = "/entry/0/changes/0/value";

#[test]
fn cloud_body_has_the_fields_of_a_real_one() {
    // Ids of numbers and messages are theirs to make: ours are the number and WhatsApp's own id.
    let listed = [
        format!("{VALUE}/metadata/phone_number_id"),
        format!("{VALUE}/messages/0/id"),
        format!("{VALUE}/messages/0/image/id"),
        format!("{VALUE}/statuses/0/id"),
    ];
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    let text = message(Kind::Text, "hi", json!({}));
    meets(Format::Cloud, fixture!("cloud-text"), &text, &listed);
    let read = receipt("read");
    meets(Format::Cloud, fixture!("cloud-status"), &read, &listed);
    meets(Format::Cloud, fixture!("cloud-image"), &image(), &listed);
}

fn shown(kind: Kind, content: &str, metadata: Value) -> Value {
    let (_, body) = render(Format::Cloud, &message(kind, content, metadata));
    let first = body.pointer(&format!("{VALUE}/messages/0"));
    first.cloned().expect("a message")
}

#[test]
fn cloud_body_of_each_kind_has_its_field() {
    let taken_back = json!({"reaction": {"message_id": "3EB0BB", "removed": true}});
    assert_eq!(
        shown(Kind::Reaction, "", taken_back)["reaction"],
        json!({"message_id": "3EB0BB"}),
        "without emoji when it is taken back"
    );
    let vcard = "BEGIN:VCARD\nFN:Bob\nitem1.TEL;type=CELL;waid=4933300000:+49 333\nEND:VCARD";
    let contacts = json!({"contacts": [{"name": "Bob", "vcard": vcard}]});
    let phones = json!([{"phone": "+49 333", "wa_id": "4933300000"}]);
    assert_eq!(
        shown(Kind::Contact, "Bob", contacts)["contacts"],
        json!([{"name": {"formatted_name": "Bob"}, "phones": phones}])
    );
    let edit = shown(Kind::Edit, "new", json!({"edited_message_id": "3EB0BB"}));
    assert_eq!(edit["type"], "edit");
    assert_eq!(edit["edit"]["original_message_id"], "3EB0BB");
    let poll = shown(Kind::Poll, "which?", json!({"poll": {"options": ["a"]}}));
    assert_eq!(poll["type"], "unsupported");
    assert_eq!(poll["errors"][0]["code"], 131_051);
}

#[test]
fn cloud_body_of_an_own_message_is_an_echo() {
    let mut own = message(Kind::Text, "hi", json!({"from_me": true}));
    own.from = "4911100000".to_owned();
    own.to = "4922200000".to_owned();
    let (_, ours) = render(Format::Cloud, &own);
    let change = &ours["entry"][0]["changes"][0];
    assert_eq!(change["field"], "smb_message_echoes");
    assert_eq!(change["value"]["message_echoes"][0]["to"], "4922200000");
}

#[test]
fn cloud_body_of_a_hidden_sender_has_no_number_but_an_id() {
    let mut hidden = message(Kind::Text, "hi", json!({"chat": "90003@lid"}));
    hidden.from = "90003@lid".to_owned();
    let (bytes, body) = render(Format::Cloud, &hidden);
    let contact = json!({"profile": {"name": "Ann"}, "user_id": "ZZ.90003"});
    assert_eq!(body.pointer(&format!("{VALUE}/contacts/0")), Some(&contact));
    let shown = body.pointer(&format!("{VALUE}/messages/0"));
    let shown = shown.expect("a message");
    assert_eq!(
        (shown.get("from"), &shown["from_user_id"]),
        (None, &json!("ZZ.90003"))
    );
    let summary = summarize_body(&bytes).expect("its own body");
    assert_eq!(summary.from, "90003@lid");
}

#[test]
fn cloud_body_of_a_channel_names_the_channel() {
    let mut channel = message(Kind::Text, "hi", json!({"chat": "120363@newsletter"}));
    channel.from = "120363@newsletter".to_owned();
    let (bytes, body) = render(Format::Cloud, &channel);
    let from = body.pointer(&format!("{VALUE}/messages/0/from"));
    assert_eq!(from, Some(&json!("120363@newsletter")));
    let summary = summarize_body(&bytes).expect("its own body");
    assert_eq!(summary.from, "120363@newsletter");
}

#[test]
fn cloud_user_id_stays_when_the_number_becomes_known() {
    let known = message(Kind::Text, "hi", json!({"from_lid": "90003@lid"}));
    let (_, body) = render(Format::Cloud, &known);
    let shown = body.pointer(&format!("{VALUE}/messages/0"));
    let shown = shown.expect("a message");
    assert_eq!(
        (&shown["from"], &shown["from_user_id"]),
        (&json!("4922200000"), &json!("ZZ.90003"))
    );
}

#[test]
fn cloud_body_is_ascii_and_fits_when_each_letter_grows() {
    for letter in ["ä", "日", "👋", "\u{1}"] {
        let text = letter.repeat(BODY_BYTES_MAX / letter.len());
        let long = message(Kind::Text, &text, json!({"notes": text}));
        let (bytes, body) = render(Format::Cloud, &long);
        assert!(
            bytes.is_ascii() && bytes.len() <= BODY_BYTES_MAX,
            "{letter}"
        );
        let shown = body.pointer(&format!("{VALUE}/messages/0/text/body"));
        assert!(
            shown
                .and_then(Value::as_str)
                .is_some_and(|text| text.starts_with(letter))
        );
    }
}
