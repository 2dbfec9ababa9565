//! Kinds without a name here: what field they are in, and the first text that they hold.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};
use whatsapp_rust::prelude::wa;

use super::model::Content;
use crate::{model::Kind, wire};

/// Of a message with longer JSON nothing is told: bytes take four times as much in it.
const JSON_BYTES_MAX: usize = 8 << 20;
/// A field with longer JSON is not searched for a text.
const FIELD_BYTES_MAX: usize = 1 << 20;
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
    // The fields stay as text: numbers and lists take twenty times as much as values.
    let Ok(fields) = serde_json::from_slice::<BTreeMap<&str, &RawValue>>(&json) else {
        return Some(Content::unknown());
    };
    let set: Vec<_> = fields
        .iter()
        .filter(|(_, value)| value.get() != "null")
        .collect();
    let said = set.iter().find(|(name, _)| !NOISE.contains(name));
    let Some((name, value)) = said else {
        // A field that the client does not know leaves nothing here.
        return set.is_empty().then(Content::unknown);
    };
    let json = Some(value.get()).filter(|json| json.len() <= FIELD_BYTES_MAX);
    let value: Value = json
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default();
    let text = value.as_str().or_else(|| first_text(&value, DEPTH_MAX));
    Some(Content::new(Kind::Unknown, text).with("kind", camel_case(name).into()))
}

/// The text at this level, or else the first one below.
fn first_text(value: &Value, depth: usize) -> Option<&str> {
    let depth = depth.checked_sub(1)?;
    match value {
        Value::Object(fields) => {
            let said = |name: &&str| fields.get(*name)?.as_str().filter(|text| !text.is_empty());
            TEXTS.iter().find_map(said).or_else(|| {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_empty_text_does_not_hide_the_one_beside_it_or_below() {
        let beside = json!({"text": "", "caption": "beside"});
        assert_eq!(first_text(&beside, DEPTH_MAX), Some("beside"));
        let below = json!({"text": "", "inner": [{"name": "below"}]});
        assert_eq!(first_text(&below, DEPTH_MAX), Some("below"));
    }
}
