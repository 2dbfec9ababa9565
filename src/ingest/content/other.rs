//! Kinds without a name here: what field they are in, and the first text that they hold.

use serde_json::{Map, Value};
use whatsapp_rust::prelude::wa;

use super::model::Content;
use crate::{model::Kind, wire};

/// JSON of a message beyond this is not searched for a text: bytes take four times as much in it.
const JSON_BYTES_MAX: usize = 1 << 20;
/// Where texts lie, most telling first.
const TEXTS: [&str; 12] = [
    "text",
    "content_text",
    "message_text",
    "hydrated_content_text",
    "caption",
    "body",
    "message",
    "name",
    "title",
    "description",
    "note",
    "conversation",
];
/// Levels that are searched.
const DEPTH_MAX: usize = 6;
/// Fields that only clients exchange. Alone they are no message.
pub(super) const NOISE: [&str; 14] = [
    "message_context_info",
    "sender_key_distribution_message",
    "fast_ratchet_key_sender_key_distribution_message",
    "group_root_key_share",
    "root_secret_distribute_message",
    "message_history_bundle",
    "sticker_sync_rmr_message",
    "call",
    "chat",
    "status_notification_message",
    "status_quoted_message",
    "status_sticker_interaction_message",
    "protocol_message",
    "device_sent_message",
];

/// What can be told of a message of any kind; `None` if it holds only what clients exchange.
pub(super) fn other(base: &wa::Message) -> Option<Content> {
    let Ok(json) = wire::bounded_json(base, JSON_BYTES_MAX) else {
        return Some(Content::unknown());
    };
    let Ok(fields) = serde_json::from_slice::<Map<String, Value>>(&json) else {
        return Some(Content::unknown());
    };
    let set: Vec<_> = fields
        .iter()
        .filter(|(_, value)| !value.is_null())
        .collect();
    let said = set.iter().find(|(name, _)| !NOISE.contains(&name.as_str()));
    let Some((name, value)) = said else {
        // A field that the client does not know leaves nothing here.
        return set.is_empty().then(Content::unknown);
    };
    let text = value.as_str().or_else(|| first_text(value, DEPTH_MAX));
    Some(Content::new(Kind::Unknown, text).with("kind", camel_case(name).into()))
}

/// The text at this level, or else the first one below.
fn first_text(value: &Value, depth: usize) -> Option<&str> {
    let depth = depth.checked_sub(1)?;
    match value {
        Value::Object(fields) => {
            let here = TEXTS.iter().find_map(|name| fields.get(*name)?.as_str());
            here.filter(|text| !text.is_empty()).or_else(|| {
                let below = |name: &&str| first_text(fields.get(*name)?, depth);
                let named = TEXTS.iter().find_map(below);
                named.or_else(|| fields.values().find_map(|field| first_text(field, depth)))
            })
        }
        Value::Array(entries) if entries.first().is_some_and(Value::is_object) => {
            entries.iter().find_map(|entry| first_text(entry, depth))
        }
        _ => None,
    }
}

/// The name as the protocol writes it.
fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut camel = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut letters = part.chars();
        camel.extend(letters.next().map(|letter| letter.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
