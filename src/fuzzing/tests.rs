//! The fuzz targets with random bytes, and with valid bytes that were changed at random.

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::Index};
use serde_json::json;
use uuid::Uuid;
#[cfg(feature = "whatsapp")]
use whatsapp_rust::{
    prelude::{MessageField, wa},
    waproto::buffa::Message as _,
};

use super::*;
use crate::model::{
    Attempt, Delivery, EventStatus, Outcome, Priority, Secret, SigningKey, SigningSecret,
};

const CASES: u32 = 1024;

/// One random change of some bytes.
#[derive(Debug, Clone)]
enum Change {
    Set(Index, u8),
    Insert(Index, Vec<u8>),
    Remove(Index, usize),
    Repeat(Index, usize),
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        3 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => (any::<Index>(), vec(any::<u8>(), 1..9)).prop_map(|(at, new)| Change::Insert(at, new)),
        1 => (any::<Index>(), 1_usize..9).prop_map(|(at, count)| Change::Remove(at, count)),
        1 => (any::<Index>(), 1_usize..64).prop_map(|(at, count)| Change::Repeat(at, count)),
    ]
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let size = bytes.len();
        if size == 0 {
            return;
        }
        match self {
            Self::Set(at, byte) => bytes[at.index(size)] = *byte,
            Self::Insert(at, new) => {
                let at = at.index(size);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove(at, count) => {
                let at = at.index(size);
                bytes.drain(at..size.min(at + count));
            }
            Self::Repeat(at, count) => {
                let at = at.index(size);
                let part = bytes[at..size.min(at + count)].to_vec();
                bytes.splice(at..at, part);
            }
        }
    }
}

/// Random bytes, or one of these with up to four changes.
fn input(valid: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changed =
        (prop::sample::select(valid), vec(change(), 0..5)).prop_map(|(bytes, changes)| {
            let mut bytes = bytes;
            for change in changes {
                change.apply(&mut bytes);
            }
            bytes
        });
    prop_oneof![1 => vec(any::<u8>(), 0..256), 2 => changed]
}

fn message() -> Message {
    Message {
        client_id: ClientId::try_from(7).expect("in range"),
        phone: "4911100000".parse().expect("valid"),
        message_id: "3EB0AA".parse().expect("valid"),
        chat: "120363@g.us".to_owned(),
        from: "4922200000".to_owned(),
        to: "4911100000".to_owned(),
        timestamp: Timestamp::from_millis(1_750_000_000_000),
        kind: Kind::Contact,
        content: "hi \u{1}".to_owned(),
        metadata_json: None,
        metadata: [
            ("push_name".to_owned(), json!("Ann")),
            (
                "contacts".to_owned(),
                json!([null, {"name": "Bob", "vcard": "TEL:1\nTEL:2"}]),
            ),
            ("mentions".to_owned(), json!(["", "4933300000"])),
        ]
        .into_iter()
        .collect(),
    }
}

fn delivery() -> Delivery {
    Delivery {
        event_id: EventId(Uuid::from_u128(1)),
        webhook_id: WebhookId(Uuid::from_u128(2)),
        client_id: ClientId::try_from(3).expect("in range"),
        phone: "4915112345678".parse().expect("valid"),
        message_id: "M1".parse().expect("valid"),
        kind: Kind::ButtonReply,
        created_at: Timestamp::from_millis(5),
        body: Bytes::from_static(br#"{"client_id":3}"#),
        attempt_count: 1,
        attempts_this_round: 1,
        priority: Priority::Low,
        chat_key: "c".to_owned().try_into().ok(),
    }
}

fn valid_envelopes() -> Vec<Vec<u8>> {
    let attempt = Attempt {
        delivery: delivery(),
        number: 1,
        outcome: Outcome::Http5xx,
        status: EventStatus::Pending,
        http_status: Some(503),
        response: Some("busy".to_owned()),
        error: None,
        started_at: Timestamp::from_millis(9),
        latency_ms: 4,
        next_retry_at: Some(Timestamp::from_millis(10)),
    };
    let letter = wire::DeadLetter {
        delivery: delivery(),
        reason: "gone".to_owned(),
        http_status: Some(410),
        at: Timestamp::from_millis(11),
    };
    vec![
        wire::encode_message(&message()),
        wire::encode_delivery(&delivery()),
        wire::encode_attempts(&[attempt]),
        wire::encode_dead_letter(&letter),
    ]
}

fn valid_subjects() -> Vec<Vec<u8>> {
    let id = PublicEventId {
        webhook: WebhookId(Uuid::from_u128(2)),
        event: EventId(Uuid::from_u128(1)),
    };
    let texts = [
        wire::subject::queued(8, &delivery()).expect("it has a chat key"),
        id.to_string(),
        "9007199254740991".to_owned(),
        "4915112345678".to_owned(),
        "3EB0AA".to_owned(),
        "2026-11-24T08:30:00.5+01:00".to_owned(),
    ];
    texts.map(String::into_bytes).to_vec()
}

fn valid_secrets() -> Vec<Vec<u8>> {
    let client = ClientId::try_from(1).expect("in range");
    let phone = "4911100000".parse().expect("valid");
    let url = "https://example.com/".to_owned();
    let id = WebhookId(Uuid::from_u128(2));
    let mut webhook = Webhook::new(id, client, phone, url, Timestamp::EPOCH);
    webhook.secrets = vec![SigningSecret::from_key(&[1; 24])];
    webhook.sending.keys = vec![SigningKey::from_parts(&[1; 32], &[2; 32])];
    let header = ("authorization".to_owned(), Secret::new("Bearer x".into()));
    webhook.sending.headers = [header].into_iter().collect();
    let key = Keyring::new_line("key-1").expect("an id");
    vec![
        format!("# newest first\n{key}\n").into_bytes(),
        KEYS.seal("elsewhere", "whsec_secret").into_bytes(),
        wire::encode_opaque_id(&[8; 32], client, &("path", 5)).into_bytes(),
        wire::encode_webhook(&webhook, &KEYS),
        serde_json::to_vec(&webhook).expect("plain data has a JSON form"),
    ]
}

fn valid_addresses() -> Vec<Vec<u8>> {
    let mut all: Vec<Vec<u8>> = [
        "https://example.com/hook?key=1",
        "http://8.8.8.8:8080/",
        "https://[2606:4700::1111]/",
        "https://0x7f.1/",
        "https://b\u{fc}cher.example/\u{fc}",
        "https://user:pw@example.com/#top",
    ]
    .map(|url| url.as_bytes().to_vec())
    .to_vec();
    all.push(
        "::ffff:10.0.0.1"
            .parse::<Ipv6Addr>()
            .expect("valid")
            .octets()
            .to_vec(),
    );
    all.push(
        "fd00::1"
            .parse::<Ipv6Addr>()
            .expect("valid")
            .octets()
            .to_vec(),
    );
    all
}

fn valid_headers() -> Vec<Vec<u8>> {
    [
        "authorization",
        "x-tenant_1",
        "Bearer abc.def",
        "120",
        "Tue, 24 Nov 2026 08:01:00 GMT",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

#[cfg(feature = "whatsapp")]
fn valid_content() -> Vec<Vec<u8>> {
    let text = wa::Message {
        conversation: Some("hello \u{1}".into()),
        ..Default::default()
    };
    let image = wa::message::ImageMessage {
        caption: Some("look".into()),
        mimetype: Some("image/jpeg".into()),
        direct_path: Some("/v/1".into()),
        media_key: Some(vec![0x5e; 32]),
        file_sha256: Some(vec![1; 32]),
        file_enc_sha256: Some(vec![2; 32]),
        file_length: Some(9),
        context_info: MessageField::some(wa::ContextInfo {
            stanza_id: Some("Q1".into()),
            mentioned_jid: vec!["4922@s.whatsapp.net".into(); 3],
            ..Default::default()
        }),
        ..Default::default()
    };
    let image = wa::Message {
        image_message: MessageField::some(image),
        ..Default::default()
    };
    let once = wa::Message {
        view_once_message: MessageField::some(wa::message::FutureProofMessage {
            message: MessageField::some(image.clone()),
        }),
        ..Default::default()
    };
    let contact = wa::Message {
        contact_message: MessageField::some(wa::message::ContactMessage {
            display_name: Some("Bob".into()),
            vcard: Some("BEGIN:VCARD\nTEL:+49\nEND:VCARD".into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    [text, image, once, contact]
        .map(|message| message.encode_to_vec())
        .to_vec()
}

fn run(valid: Vec<Vec<u8>>, target: fn(&[u8])) {
    for bytes in &valid {
        target(bytes);
    }
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(CASES)
    };
    proptest!(config, |(bytes in input(valid))| target(&bytes));
}

#[test]
fn envelopes_hold_for_any_bytes() {
    run(valid_envelopes(), envelopes);
}

#[test]
fn subjects_hold_for_any_bytes() {
    run(valid_subjects(), subjects);
}

#[test]
fn keyring_holds_for_any_bytes() {
    run(valid_secrets(), keyring);
}

#[test]
fn addresses_hold_for_any_bytes() {
    run(valid_addresses(), addresses);
}

#[test]
fn headers_hold_for_any_bytes() {
    run(valid_headers(), headers);
}

#[cfg(feature = "whatsapp")]
#[test]
fn whatsapp_content_holds_for_any_bytes() {
    run(valid_content(), whatsapp_content);
}

#[test]
fn deeply_nested_metadata_is_refused_or_handled() {
    let mut bytes = wire::encode_message(&message());
    let name = b"\xa3Ann";
    let at = bytes
        .windows(name.len())
        .position(|part| part == name)
        .expect("the push name");
    for levels in [50, 500, 5_000, 500_000] {
        let nested = std::iter::repeat_n(0x91, levels);
        let mut deep = bytes.clone();
        deep.splice(at..at, nested);
        envelopes(&deep);
    }
    bytes.truncate(at);
    envelopes(&bytes);
}
