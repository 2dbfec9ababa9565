//! What must hold for any bytes from outside. Not part of the product.
//!
//! Each function takes bytes as a fuzzer makes them and asserts: no panic, what was decoded encodes
//! to the same value, and the output is bounded by the input. The targets in `fuzz/` call them with
//! libFuzzer; the tests beside this file call them in `cargo test` with random and mutated bytes.

#[cfg(test)]
mod tests;

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::LazyLock,
};

use hyper::header::{HeaderName, HeaderValue};
use serde_json::Value;

#[cfg(feature = "whatsapp")]
use crate::{ingest, model::CONTENT_BYTES_MAX};
use crate::{
    model::{
        ClientId, EventId, Format, Kind, Message, MessageId, Phone, PublicEventId, Timestamp,
        Webhook, WebhookId,
    },
    policy::{
        RETRY_AFTER_MAX,
        address::{URL_BYTES_MAX, check_url, forbidden},
        header::{check_header_name, check_header_value},
        outcome_of_status, parse_retry_after,
    },
    wire::{
        self, Keyring, decode_attempts, decode_dead_letter, decode_delivery, decode_message,
        subject::QueueEntry,
    },
};

/// Metadata of WhatsApp content has at most this many bytes for each byte of the message: a control
/// character is escaped with six.
#[cfg(feature = "whatsapp")]
const METADATA_GROWTH_MAX: usize = 8;
/// What does not depend on the input: names of fields, ids, times.
#[cfg(feature = "whatsapp")]
const FIXED_BYTES_MAX: usize = 4096;
/// serde_json reads 128 levels; the formats put the metadata into up to six of their own.
const JSON_DEPTH_MAX: usize = 120;

static KEYS: LazyLock<Keyring> = LazyLock::new(|| {
    Keyring::parse("k:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").expect("a fixed key")
});

/// The four envelopes, and the webhook bodies of a decoded message.
pub fn envelopes(bytes: &[u8]) {
    if let Ok(message) = decode_message(bytes) {
        let again = decode_message(&wire::encode_message(&message)).expect("its own bytes");
        assert_eq!(again, message);
        bodies(&message);
    }
    if let Ok(delivery) = decode_delivery(bytes) {
        let again = decode_delivery(&wire::encode_delivery(&delivery)).expect("its own bytes");
        assert_eq!(again, delivery);
        // Any body may be stored in a delivery, so reading it must not panic.
        drop(wire::summarize_body(&delivery.body));
    }
    if let Ok(attempts) = decode_attempts(bytes) {
        let again = decode_attempts(&wire::encode_attempts(&attempts)).expect("its own bytes");
        assert_eq!(again, attempts);
    }
    if let Ok(letter) = decode_dead_letter(bytes) {
        let again = decode_dead_letter(&wire::encode_dead_letter(&letter)).expect("its own bytes");
        assert_eq!(again, letter);
    }
}

fn bodies(message: &Message) {
    let client = message.client_id;
    let url = "https://example.com/".to_owned();
    let id = WebhookId(uuid::Uuid::from_u128(2));
    let mut webhook = Webhook::new(id, client, message.phone.clone(), url, Timestamp::EPOCH);
    let depth = message.metadata.values().map(depth).max().unwrap_or(0);
    for format in Format::ALL {
        webhook.sending.format = format;
        let event = EventId(uuid::Uuid::nil());
        let bytes_max = wire::BODY_BYTES_MAX_LEAST;
        let body = wire::delivery_body(&webhook, message, event, message.timestamp, bytes_max);
        assert!(body.len() <= bytes_max, "{format:?}: {} bytes", body.len());
        // The body of a notice has no sender.
        if depth < JSON_DEPTH_MAX && message.kind != Kind::Operational {
            assert!(wire::summarize_body(&body).is_some(), "{format:?}");
        }
        let headers = wire::request_headers(&webhook, event, 1, message.timestamp, &body);
        assert!(headers.len() >= 3);
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Subjects of the chat queue, and the ids in them and in the API.
pub fn subjects(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(entry) = QueueEntry::parse(&text) {
        let client = entry.client_id;
        let queue = wire::subject::chat_queue(8, client, &entry.phone, &entry.chat_key);
        let prefix = queue.strip_suffix('*').expect("a filter for all events");
        let subject = format!("{prefix}{}", entry.event_id.0.simple());
        assert_eq!(QueueEntry::parse(&subject), Some(entry));
    }
    if let Ok(id) = text.parse::<PublicEventId>() {
        assert_eq!(id.to_string(), text);
    }
    if let Ok(client) = text.parse::<ClientId>() {
        assert_eq!(client.to_string(), text);
        let phone = Phone::operational();
        assert!(wire::partition(client, &phone, 8) < 8);
    }
    if let Ok(phone) = text.parse::<Phone>() {
        assert_eq!(phone.as_str(), text);
    }
    if let Ok(id) = text.parse::<MessageId>() {
        assert_eq!(id.as_str(), text);
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        assert_eq!(time.to_string().parse(), Ok(time));
    }
    let id = wire::dedupe_id(&text.split('.').collect::<Vec<_>>());
    assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
}

/// Keys files, sealed secrets, opaque ids and stored webhooks.
pub fn keyring(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(keys) = Keyring::parse(&text) {
        assert!((1..=32).contains(&keys.newest().len()));
        let sealed = keys.seal("place", &text);
        assert_eq!(keys.open("place", &sealed).as_deref(), Ok(text.as_ref()));
        assert!(keys.open("elsewhere", &sealed).is_err());
    }
    if let Ok(opened) = KEYS.open("place", &text) {
        assert_eq!(opened, text, "nothing that was sealed elsewhere opens here");
    }
    let client = ClientId::try_from(1).expect("in range");
    let opened = wire::decode_opaque_id::<Value>(&[7; 32], client, &text);
    assert_eq!(opened, None, "nobody can forge an opaque id");
    let id = wire::encode_opaque_id(&[7; 32], client, &text);
    let opened = wire::decode_opaque_id::<String>(&[7; 32], client, &id);
    assert_eq!(opened.as_deref(), Some(text.as_ref()));
    stored_webhook(bytes);
}

fn stored_webhook(bytes: &[u8]) {
    let Ok(webhook) = wire::decode_webhook(bytes, &KEYS) else {
        return;
    };
    let again = wire::encode_webhook(&webhook, &KEYS);
    let sealed = wire::sealed_with(&again, &KEYS).expect("its own bytes");
    assert_eq!(sealed, wire::SealedWith::NewestKey);
    let decoded = wire::decode_webhook(&again, &KEYS).expect("its own bytes");
    assert_eq!(decoded, webhook);
    // Stored secrets are not checked again: a damaged one must not stop a delivery with a panic.
    let event = EventId(uuid::Uuid::nil());
    drop(wire::request_headers(
        &webhook,
        event,
        1,
        Timestamp::EPOCH,
        bytes,
    ));
}

/// URLs of webhooks, and addresses that a resolver answers.
pub fn addresses(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for allow_http in [false, true] {
        let Ok(url) = check_url(&text, allow_http, &[]) else {
            continue;
        };
        assert!(url.scheme() == "https" || allow_http && url.scheme() == "http");
        assert!(url.username().is_empty() && url.password().is_none());
        assert!(url.fragment().is_none() && url.has_host());
        assert!(url.as_str().len() <= URL_BYTES_MAX);
        // What is stored is taken again, and unchanged.
        assert_eq!(check_url(url.as_str(), allow_http, &[]), Ok(url.clone()));
        if let Some(address) = address_in(&url) {
            assert_eq!(forbidden(address, &[]), None);
        }
    }
    let Some(first) = bytes.first_chunk::<16>() else {
        return;
    };
    let address = IpAddr::from(Ipv6Addr::from(*first)).to_canonical();
    let refused = forbidden(address, &[]);
    let is_local = match address {
        IpAddr::V4(address) => address.is_private() || address.is_loopback(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    };
    assert!(!is_local || refused.is_some());
    assert_eq!(forbidden(address, &[address.into()]), None);
}

fn address_in(url: &url::Url) -> Option<IpAddr> {
    match url.host()? {
        url::Host::Ipv4(address) => Some(address.into()),
        url::Host::Ipv6(address) => Some(address.into()),
        url::Host::Domain(_) => None,
    }
}

/// Headers that a webhook asks for, and what an endpoint answers.
pub fn headers(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if check_header_name(&text).is_ok() {
        assert!(HeaderName::from_bytes(text.as_bytes()).is_ok());
    }
    if check_header_value(&text).is_ok() {
        assert!(HeaderValue::from_bytes(text.as_bytes()).is_ok());
    }
    let (seconds, rest) = bytes.split_at(bytes.len().min(8));
    let millis = seconds
        .iter()
        .fold(0, |sum, byte| sum << 8 | i64::from(*byte));
    let now = Timestamp::from_millis(millis);
    for text in [&text, &String::from_utf8_lossy(rest)] {
        if let Some(wait) = parse_retry_after(text, now) {
            assert!(wait <= RETRY_AFTER_MAX);
        }
    }
    if let Some(status) = bytes.first_chunk::<2>() {
        let outcome = outcome_of_status(u16::from_be_bytes(*status));
        assert!(!outcome.as_str().is_empty());
    }
}

/// A decrypted WhatsApp message.
#[cfg(feature = "whatsapp")]
pub fn whatsapp_content(bytes: &[u8]) {
    let Some((text, metadata)) = ingest::content_of(bytes) else {
        return;
    };
    assert!(text.len() <= CONTENT_BYTES_MAX.min(bytes.len()));
    let metadata_bytes_max = bytes.len() * METADATA_GROWTH_MAX + FIXED_BYTES_MAX;
    assert!(Value::from(metadata).to_string().len() <= metadata_bytes_max);
}
