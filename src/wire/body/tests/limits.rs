//! No body has more bytes than its limit, whatever its message is.

use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::{
    EVENT,
    any_message::{KINDS, METADATA},
    at, message, render, webhook,
};
use crate::{
    model::{Format, Kind, METADATA_DEPTH_MAX, Message, PARTY_CHARS_MAX, parse_metadata},
    wire::{
        BODY_BYTES_MAX, BODY_BYTES_MAX_LEAST, body::format_of, delivery_body, summarize_body,
        webhook_body,
    },
};

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

#[track_caller]
fn stays_below(message: &Message, bytes_max: usize) {
    for format in Format::ALL {
        let body = delivery_body(&webhook(format), message, EVENT, at(), bytes_max);
        let kind = &message.kind;
        assert!(
            body.len() <= bytes_max,
            "{kind} in {format:?}: {}",
            body.len()
        );
        assert_eq!(format_of(&body), format, "{kind}");
        assert!(summarize_body(&body).is_some(), "{kind} in {format:?}");
    }
}

/// Lists of short entries, which some formats make objects of; texts whose JSON is six times as
/// long; numbers whose JSON is four times as long as in the request.
fn hostile() -> Vec<Value> {
    let control = "\u{1}".repeat(50_000);
    let numbers = "TEL;waid=:\n".repeat(4_000);
    vec![
        json!(vec![0; 20_000]),
        json!(vec!["a"; 20_000]),
        json!(vec![Value::Null; 20_000]),
        json!(vec![json!({"": 0}); 2_000]),
        json!(vec![json!({"vcard": numbers}); 4]),
        json!(vec![json!({"vcard": "TEL:\n".repeat(16)}); 500]),
        json!(vec![json!({"vcard": "\u{2}".repeat(1_600)}); 100]),
        json!(control),
        json!(format!("{}@g.us", "1".repeat(50_000))),
        json!(vec![1e15; 10_000]),
        (0..100).fold(json!(0), |inner, _| json!({"id": [inner]})),
    ]
}

#[test]
fn body_of_a_hostile_message_stays_below_its_limit() {
    for value in hostile() {
        let fields = METADATA.iter().map(|field| {
            let object = json!({
                "id": value, "options": value, "name": value,
            });
            let value = match *field {
                "media" | "location" | "poll" | "reaction" | "quoted" | "button" | "list" => object,
                _ => value.clone(),
            };
            ((*field).to_owned(), value)
        });
        let mut hostile = message(Kind::Text, "hello", json!({}));
        hostile.metadata = fields.collect();
        for kind in KINDS.iter().cloned() {
            // As images, or as texts.
            if matches!(
                kind,
                Kind::Video
                    | Kind::Audio
                    | Kind::Document
                    | Kind::Sticker
                    | Kind::Test
                    | Kind::Unknown
            ) {
                continue;
            }
            hostile.kind = kind;
            stays_below(&hostile, BODY_BYTES_MAX_LEAST);
        }
    }
}

#[test]
fn text_of_control_characters_is_cut_to_fit() {
    for length in [100_000, 400_000] {
        let text = message(Kind::Text, &"\u{1}".repeat(length), json!({}));
        stays_below(&text, BODY_BYTES_MAX);
        stays_below(&text, BODY_BYTES_MAX_LEAST);
    }
}

#[test]
fn names_that_are_too_long_for_a_person_are_cut() {
    let long = "\u{1}".repeat(500_000);
    let mut hostile = message(
        Kind::Reaction,
        "hello",
        json!({"chat": format!("{long}@g.us")}),
    );
    (hostile.from, hostile.to, hostile.chat) = (long.clone(), long.clone(), long);
    stays_below(&hostile, BODY_BYTES_MAX_LEAST);
    let (_, body) = render(Format::Native, &hostile);
    assert_eq!(
        body["from"].as_str().map(|name| name.chars().count()),
        Some(PARTY_CHARS_MAX)
    );
}

#[test]
fn cut_body_says_what_was_left_out() {
    let card = |index: usize| json!({"name": format!("N{index}"), "vcard": "\u{1}".repeat(16_384)});
    let cards: Vec<Value> = (0..100).map(card).collect();
    let raw = json!({"a": "x".repeat(3 << 20)});
    let contact = message(Kind::Contact, "all", json!({"contacts": cards, "raw": raw}));
    let (_, body) = render(Format::Native, &contact);
    let metadata = &body["metadata"];
    let kept = metadata["contacts"].as_array().expect("a list");
    assert!(kept.len() >= 10, "{} cards fit", kept.len());
    assert_eq!(kept[..], cards[..kept.len()], "the first ones, whole");
    assert_eq!(metadata["push_name"], "Ann", "small fields stay");
    let truncated = json!({
        "metadata.contacts": 100 - kept.len(),
        "metadata.raw": raw.to_string().len(),
    });
    assert_eq!(metadata["truncated"], truncated);
    assert_eq!(body["content"], "all");

    let long = message(Kind::Text, &"é".repeat(1_500_000), json!({}));
    let (bytes, body) = render(Format::Native, &long);
    let text = body["content"].as_str().expect("a text");
    assert!(bytes.len() > BODY_BYTES_MAX / 4, "{}", bytes.len());
    assert!(text.chars().all(|letter| letter == 'é'));
    assert_eq!(
        body["metadata"]["truncated"]["content"],
        3_000_000 - text.len()
    );
}

#[test]
fn body_that_fits_is_not_cut() {
    let cards: Vec<Value> = (0..100)
        .map(|_| json!({"name": "Bob", "vcard": "x".repeat(16 * 1024)}))
        .collect();
    let contact = message(Kind::Contact, "all", json!({"contacts": cards}));
    let (_, body) = render(Format::Native, &contact);
    assert_eq!(body["metadata"]["contacts"], json!(cards));
    assert_eq!(body["metadata"].get("truncated"), None);
}

#[test]
fn lists_of_other_formats_hold_256_entries() {
    let numbers: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    let text = message(Kind::Text, "hi", json!({"mentions": numbers}));
    let (_, body) = render(Format::Evolution, &text);
    let mentioned = body["data"]["contextInfo"]["mentionedJid"].as_array();
    assert_eq!(mentioned.map(Vec::len), Some(256));
    let (_, body) = render(Format::Native, &text);
    assert_eq!(body["metadata"]["mentions"], json!(numbers), "all of them");
    let card = json!({"name": "Bob", "vcard": "TEL:1\n".repeat(50)});
    let contact = message(Kind::Contact, "", json!({"contacts": vec![card; 300]}));
    let (_, body) = render(Format::Cloud, &contact);
    let contacts = body.pointer("/entry/0/changes/0/value/messages/0/contacts");
    let contacts = contacts.and_then(Value::as_array).expect("a list");
    assert_eq!(contacts.len(), 256);
    assert_eq!(contacts[0]["phones"].as_array().map(Vec::len), Some(16));
}

#[test]
fn metadata_within_its_limits_is_summarized_in_every_format() {
    let nested = (1..METADATA_DEPTH_MAX).fold(json!(0), |inner, _| json!([inner]));
    let metadata = json!({"nested": [nested.clone()], "location": {"latitude": nested}});
    let deep = message(Kind::Location, "hello", metadata);
    let json = Value::from(deep.metadata.clone()).to_string();
    assert!(parse_metadata(&json).is_ok());
    for format in Format::ALL {
        // Parsing it in `render` shows that JSON readers with the usual limit take it.
        let (body, _) = render(format, &deep);
        assert!(summarize_body(&body).is_some(), "{format:?}");
    }
}

#[test]
fn native_body_that_is_nested_deeper_is_summarized_all_the_same() {
    let nested = (0..1_000).fold(json!(0), |inner, _| json!([inner]));
    let body = webhook_body(&message(Kind::Text, "hello", json!({"nested": nested})));
    let summary = summarize_body(&body).expect("readable");
    assert_eq!(summary.from, "4922200000");
    assert_eq!(summary.content, "hello");
}

fn any_long_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(json!(1e15)),
        any::<i64>().prop_map(Value::from),
        (any::<char>(), 0..1_000_usize)
            .prop_map(|(letter, length)| letter.to_string().repeat(length).into()),
    ];
    let list = (leaf.clone(), 0..300_usize).prop_map(|(entry, length)| vec![entry; length].into());
    let known = ["id", "name", "vcard", "message_id", "from", "options"];
    let name = prop_oneof![
        prop::sample::select(known.to_vec()).prop_map(str::to_owned),
        ".{0,40}",
    ];
    prop_oneof![leaf, list].prop_recursive(3, 64, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..4)
                .prop_map(|fields| fields.into_iter().collect::<Map<_, _>>().into()),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_body_exceeds_its_limit(
        values in prop::collection::vec(any_long_json(), METADATA.len()),
        kind in 0..KINDS.len(),
        letter: char,
        length in 0..100_000_usize,
        bytes_max in BODY_BYTES_MAX_LEAST..2 * BODY_BYTES_MAX_LEAST,
    ) {
        let names = METADATA.map(str::to_owned);
        let content = letter.to_string().repeat(length);
        let mut message = message(KINDS[kind].clone(), &content, json!({}));
        message.metadata = names.into_iter().zip(values).collect();
        stays_below(&message, bytes_max);
    }
}
