//! Each format against bodies as their makers send them. The fixtures are written after their
//! documents and code, with values of our own; what cannot be the same is listed here, and in
//! docs/receiving-webhooks.md.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;
use crate::model::{ClientId, DeliveryOptions, Kind, SigningSecret, WebhookId};

const EVENT: EventId = EventId(Uuid::from_u128(9));
fn at() -> Timestamp {
    Timestamp::from_millis(1_750_000_000_123)
}

fn webhook(format: Format) -> Webhook {
    let id = WebhookId(Uuid::from_u128(2));
    let client = ClientId::try_from(7).expect("in range");
    let phone = "4911100000".parse().expect("valid");
    let url = "https://example.com/hook?key=secret".to_owned();
    Webhook {
        secrets: vec![SigningSecret::from_key(&[1; 32])],
        metadata: [("mine".to_owned(), json!("private"))]
            .into_iter()
            .collect(),
        sending: DeliveryOptions {
            format,
            ..DeliveryOptions::default()
        },
        ..Webhook::new(id, client, phone, url, Timestamp::EPOCH)
    }
}

fn message(kind: Kind, content: &str, metadata: Value) -> Message {
    let mut all = Map::new();
    all.insert("push_name".to_owned(), "Ann".into());
    all.extend(metadata.as_object().cloned().expect("an object"));
    Message {
        client_id: ClientId::try_from(7).expect("in range"),
        phone: "4911100000".parse().expect("valid"),
        message_id: "3EB0AA".parse().expect("valid"),
        chat: "4922200000".to_owned(),
        from: "4922200000".to_owned(),
        to: "4911100000".to_owned(),
        timestamp: Timestamp::from_millis(1_750_000_000_000),
        kind,
        content: content.to_owned(),
        metadata: all,
    }
}

fn render(format: Format, message: &Message) -> (Bytes, Value) {
    let body = delivery_body(&webhook(format), message, EVENT, at());
    let value = serde_json::from_slice(&body).expect("JSON");
    (body, value)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Whether each field of the fixture is there, of the same type, and with the same value unless it
/// is listed.
fn differences(
    at: &str,
    theirs: &Value,
    ours: Option<&Value>,
    listed: &[&str],
    found: &mut Vec<String>,
) {
    let Some(ours) = ours else {
        return found.push(format!("{at} is missing"));
    };
    let is_listed = listed.contains(&at);
    match (theirs, ours) {
        (Value::Object(fields), Value::Object(_)) => {
            for (name, theirs) in fields {
                differences(
                    &format!("{at}/{name}"),
                    theirs,
                    ours.get(name),
                    listed,
                    found,
                );
            }
        }
        (Value::Array(items), Value::Array(own)) => {
            if items.len() != own.len() {
                found.push(format!("{at} has {} items", own.len()));
            }
            for (index, theirs) in items.iter().enumerate() {
                differences(
                    &format!("{at}/{index}"),
                    theirs,
                    own.get(index),
                    listed,
                    found,
                );
            }
        }
        _ if kind_of(theirs) != kind_of(ours) && !is_listed => {
            found.push(format!("{at} is a {}", kind_of(ours)))
        }
        _ if theirs != ours && !is_listed => found.push(format!("{at} is {ours}, not {theirs}")),
        _ => {}
    }
}

#[track_caller]
fn meets(format: Format, fixture: &str, message: &Message, listed: &[&str]) {
    let theirs: Value = serde_json::from_str(fixture).expect("JSON");
    let (body, ours) = render(format, message);
    let mut found = Vec::new();
    differences("", &theirs, Some(&ours), listed, &mut found);
    assert!(found.is_empty(), "{found:#?}\n{ours:#}");
    assert_eq!(format_of(&body), format, "the first bytes tell the format");
    assert!(
        !ours.to_string().contains("private") && !ours.to_string().contains("key=secret"),
        "{ours}"
    );
}

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../../../tests/fixtures/formats/", $name, ".json"))
    };
}

fn receipt(status: &str) -> Message {
    let mut message = message(Kind::Receipt, status, json!({"chat": "4922200000"}));
    message.chat = format!("4922200000#{status}");
    message
}

fn image() -> Message {
    let media = json!({
        "id": "sealed-id",
        "mime_type": "image/jpeg",
        "sha256": "01".repeat(32),
        "size": 9,
        "width": 4,
    });
    message(Kind::Image, "look", json!({"media": media}))
}

#[test]
fn native_body_has_the_documented_fields_in_order() {
    let mut message = message(Kind::Text, "hi\n👋", json!({}));
    message.metadata = Map::new();
    message.timestamp = Timestamp::from_millis(1_764_000_000_999);
    let (body, _) = render(Format::Native, &message);
    assert_eq!(
        String::from_utf8_lossy(&body),
        concat!(
            r#"{"client_id":7,"message_id":"3EB0AA","from":"4922200000","to":"4911100000","#,
            r#""timestamp":"2025-11-24T16:00:00Z","type":"text","content":"hi\n👋","metadata":{}}"#
        )
    );
    assert_eq!(format_of(&body), Format::Native);
    assert_eq!(body, webhook_body(&message));
}

#[test]
fn waha_body_has_the_fields_of_a_real_one() {
    // Its event ids are ULIDs; ours are those of the API. The session's name is the number.
    let outer = [
        "/id",
        "/session",
        "/engine",
        "/environment/version",
        "/me/pushName",
    ];
    let text = message(Kind::Text, "hi", json!({}));
    meets(Format::Waha, fixture!("waha-text"), &text, &outer);
    let (_, ours) = render(Format::Waha, &text);
    assert_eq!(
        ours["id"],
        PublicEventId {
            webhook: WebhookId(Uuid::from_u128(2)),
            event: EVENT
        }
        .to_string()
    );
    assert_eq!(ours["payload"]["_data"]["message_id"], "3EB0AA");
    let reaction = message(
        Kind::Reaction,
        "🙏",
        json!({"reaction": {"message_id": "3EB0BB", "removed": false}}),
    );
    meets(Format::Waha, fixture!("waha-reaction"), &reaction, &outer);
    meets(Format::Waha, fixture!("waha-ack"), &receipt("read"), &outer);
    let revoke = message(Kind::Revoke, "", json!({"revoked_message_id": "3EB0BB"}));
    meets(Format::Waha, fixture!("waha-revoked"), &revoke, &outer);
}

#[test]
fn waha_body_of_groups_own_messages_and_media() {
    let mut group = message(
        Kind::Text,
        "hi",
        json!({"chat": "120363@g.us", "is_group": true}),
    );
    group.chat = "120363@g.us".to_owned();
    let (_, ours) = render(Format::Waha, &group);
    assert_eq!(
        ours["payload"]["id"],
        "false_120363@g.us_3EB0AA_4922200000@c.us"
    );
    assert_eq!(ours["payload"]["from"], "120363@g.us");
    assert_eq!(ours["payload"]["participant"], "4922200000@c.us");
    let mut own = message(Kind::Text, "hi", json!({"from_me": true}));
    own.from = "4911100000".to_owned();
    own.to = "4922200000".to_owned();
    let (_, ours) = render(Format::Waha, &own);
    assert_eq!(
        (&ours["event"], &ours["payload"]["fromMe"]),
        (&json!("message.any"), &json!(true))
    );
    assert_eq!(ours["payload"]["id"], "true_4922200000@c.us_3EB0AA");
    let (_, ours) = render(Format::Waha, &image());
    let media = json!({
        "url": "/api/media/sealed-id",
        "mimetype": "image/jpeg",
        "filename": null,
        "s3": null,
        "error": null,
    });
    assert_eq!(
        (&ours["payload"]["hasMedia"], &ours["payload"]["media"]),
        (&json!(true), &media)
    );
    let mut hidden = message(Kind::Text, "hi", json!({"chat": "77@lid"}));
    hidden.chat = "77@lid".to_owned();
    hidden.from = "77@lid".to_owned();
    assert_eq!(render(Format::Waha, &hidden).1["payload"]["from"], "77@lid");
}

#[test]
fn evolution_body_has_the_fields_of_a_real_one() {
    // `apikey` is no credential here, and where the server is, the platform below or the source is
    // not known.
    let listed = ["/server_url", "/apikey", "/data/source"];
    let text = message(Kind::Text, "hi", json!({}));
    meets(
        Format::Evolution,
        fixture!("evolution-text"),
        &text,
        &listed,
    );
    meets(
        Format::Evolution,
        fixture!("evolution-status"),
        &receipt("read"),
        &listed,
    );
    let (_, ours) = render(Format::Evolution, &image());
    assert_eq!(ours["data"]["messageType"], "imageMessage");
    let expected = json!({
        "caption": "look", "mimetype": "image/jpeg",
        "fileSha256": "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=",
        "fileLength": 9, "width": 4,
    });
    assert_eq!(
        ours["data"]["message"],
        json!({"imageMessage": expected, "mediaUrl": "/api/media/sealed-id"})
    );
    let quoting = message(
        Kind::Text,
        "yes",
        json!({"quoted": {"message_id": "Q1", "from": "4911100000"}}),
    );
    let context = json!({"stanzaId": "Q1", "participant": "4911100000@s.whatsapp.net"});
    assert_eq!(
        render(Format::Evolution, &quoting).1["data"]["contextInfo"],
        context
    );
    let revoke = message(Kind::Revoke, "", json!({"revoked_message_id": "3EB0BB"}));
    let (_, ours) = render(Format::Evolution, &revoke);
    assert_eq!(
        (&ours["event"], &ours["data"]["id"]),
        (&json!("messages.delete"), &json!("3EB0BB"))
    );
}

#[test]
fn cloud_body_has_the_fields_of_a_real_one() {
    // Ids of numbers and messages are theirs to make: ours are the number and WhatsApp's own id.
    let value = "/entry/0/changes/0/value";
    let listed = [
        format!("{value}/metadata/phone_number_id"),
        format!("{value}/messages/0/id"),
        format!("{value}/messages/0/image/id"),
        format!("{value}/statuses/0/id"),
    ];
    let listed: Vec<&str> = listed.iter().map(String::as_str).collect();
    meets(
        Format::Cloud,
        fixture!("cloud-text"),
        &message(Kind::Text, "hi", json!({})),
        &listed,
    );
    meets(
        Format::Cloud,
        fixture!("cloud-status"),
        &receipt("read"),
        &listed,
    );
    meets(Format::Cloud, fixture!("cloud-image"), &image(), &listed);
    let first = |message: &Message| {
        render(Format::Cloud, message)
            .1
            .pointer(&format!("{value}/messages/0"))
            .cloned()
    };
    let of = |kind, content: &str, metadata| {
        first(&message(kind, content, metadata)).expect("a message")
    };
    let gone = of(
        Kind::Reaction,
        "",
        json!({"reaction": {"message_id": "3EB0BB", "removed": true}}),
    );
    assert_eq!(
        gone["reaction"],
        json!({"message_id": "3EB0BB"}),
        "without emoji when it is taken back"
    );
    let vcard = "BEGIN:VCARD\nFN:Bob\nitem1.TEL;type=CELL;waid=4933300000:+49 333\nEND:VCARD";
    let contact = of(
        Kind::Contact,
        "Bob",
        json!({"contacts": [{"name": "Bob", "vcard": vcard}]}),
    );
    let phones = json!([{"phone": "+49 333", "wa_id": "4933300000"}]);
    assert_eq!(
        contact["contacts"],
        json!([{"name": {"formatted_name": "Bob"}, "phones": phones}])
    );
    let edit = of(Kind::Edit, "new", json!({"edited_message_id": "3EB0BB"}));
    assert_eq!(
        (&edit["type"], &edit["edit"]["original_message_id"]),
        (&json!("edit"), &json!("3EB0BB"))
    );
    let poll = of(Kind::Poll, "which?", json!({"poll": {"options": ["a"]}}));
    assert_eq!(
        (&poll["type"], &poll["errors"][0]["code"]),
        (&json!("unsupported"), &json!(131_051))
    );
    let mut own = message(Kind::Text, "hi", json!({"from_me": true}));
    own.from = "4911100000".to_owned();
    own.to = "4922200000".to_owned();
    let (_, ours) = render(Format::Cloud, &own);
    assert_eq!(
        ours["entry"][0]["changes"][0]["field"],
        "smb_message_echoes"
    );
    assert_eq!(
        ours["entry"][0]["changes"][0]["value"]["message_echoes"][0]["to"],
        "4922200000"
    );
}

#[test]
fn body_holds_a_long_message_only_once() {
    let card = "x".repeat(16 * 1024);
    let cards: Vec<Value> = (0..40)
        .map(|_| json!({"name": "Bob", "vcard": card}))
        .collect();
    for long in [
        message(Kind::Text, &"x".repeat(600_000), json!({})),
        message(Kind::Contact, "all", json!({"contacts": cards})),
    ] {
        let native = webhook_body(&long).len();
        for format in Format::ALL {
            let (body, _) = render(format, &long);
            // The bodies of other formats have more around the message, but no more of it.
            assert!(
                body.len() < native + 4096,
                "{format:?}: {} bytes for {native}",
                body.len()
            );
            assert!(
                summarize_body(&body).is_some_and(
                    |summary| summary.from == "4922200000" && summary.to == "4911100000"
                )
            );
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let name = prop_oneof![
            Just("id"),
            Just("name"),
            Just("vcard"),
            Just("message_id"),
            Just("sha256"),
            Just("options")
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name, inner), 0..4).prop_map(|all| all
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

/// The fields of metadata that a body depends on.
const METADATA: [&str; 12] = [
    "media",
    "contacts",
    "location",
    "poll",
    "reaction",
    "quoted",
    "mentions",
    "button",
    "list",
    "chat",
    "from_me",
    "push_name",
];

const KINDS: [Kind; 17] = [
    Kind::Text,
    Kind::Image,
    Kind::Video,
    Kind::Audio,
    Kind::Document,
    Kind::Sticker,
    Kind::Location,
    Kind::Contact,
    Kind::Reaction,
    Kind::Poll,
    Kind::Edit,
    Kind::Revoke,
    Kind::ButtonReply,
    Kind::ListReply,
    Kind::Receipt,
    Kind::Test,
    Kind::Unknown,
];

#[test]
fn summary_names_sender_and_text_for_every_kind_and_format() {
    for format in Format::ALL {
        for kind in KINDS {
            let text = if kind == Kind::Receipt {
                "read"
            } else {
                "hello"
            };
            let (body, _) = render(format, &message(kind.clone(), text, json!({})));
            assert_eq!(format_of(&body), format, "{kind}");
            let summary = summarize_body(&body).unwrap_or_else(|| panic!("{kind} in {format:?}"));
            assert_eq!(
                (summary.from.as_str(), summary.to.as_str()),
                ("4922200000", "4911100000"),
                "{kind} in {format:?}"
            );
            // These have no room for a text in the other's format.
            let wordless = matches!(
                (format, &kind),
                (
                    Format::Evolution,
                    Kind::Audio | Kind::Sticker | Kind::Location | Kind::Contact | Kind::Revoke
                ) | (
                    Format::Cloud,
                    Kind::Location | Kind::Contact | Kind::Poll | Kind::Revoke | Kind::Unknown
                )
            );
            assert!(
                wordless || summary.content == text,
                "{kind} in {format:?}: {summary:?}"
            );
        }
    }
}

proptest! {
    /// Another gateway may write anything into metadata.
    #[test]
    fn body_with_any_metadata_is_built_and_summarized(
        values in prop::collection::vec(any_json(), METADATA.len()),
        kind in 0..KINDS.len(),
        text in ".{0,12}",
    ) {
        let names = METADATA.map(str::to_owned);
        let metadata: Map<String, Value> = names.into_iter().zip(values).collect();
        let mut message = message(KINDS[kind].clone(), &text, json!({}));
        message.metadata = metadata;
        for format in Format::ALL {
            let (body, _) = render(format, &message);
            prop_assert_eq!(format_of(&body), format);
            prop_assert!(summarize_body(&body).is_some());
        }
    }
}
