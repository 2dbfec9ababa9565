//! A message whose body would be too long, without what does not fit.
//!
//! Small fields stay, since they name people and files. Of a long list the first entries stay. Each
//! field that lost something is named in `metadata.truncated`, with the number of entries, or of
//! bytes of JSON, that were left out.

use serde_json::{Map, Value};

use super::bounded::json_bytes;
use crate::model::{Message, PARTY_CHARS_MAX};

/// The field of metadata that says what was cut.
const TRUNCATED: &str = "truncated";
/// A field of metadata up to this size comes before the longer ones.
const SMALL_FIELD_BYTES_MAX: usize = 4 * 1024;
/// Fields that [`TRUNCATED`] names; of more, the others are counted under `"…"`.
const NAMED_MAX: usize = 20;
/// A longer name of a field counts among the others.
const NAME_BYTES_MAX: usize = 64;
/// What [`TRUNCATED`] itself takes at most. A name has up to six bytes of JSON for each of its own.
const TRUNCATED_BYTES_MAX: usize = (NAMED_MAX + 2) * (6 * NAME_BYTES_MAX + 40);
/// Quotes, colon and comma of a field.
const FIELD_BYTES: usize = 4;

/// The same message, such that its native body has at most five eighths of `bytes_max`: the other
/// formats repeat some of it.
pub fn cut_message(message: &Message, bytes_max: usize) -> Message {
    let mut truncated = Truncated::default();
    let content = cut_text(&message.content, bytes_max / 8 * 3);
    truncated.note("content", message.content.len() - content.len());
    let content_bytes = json_bytes(content, usize::MAX).unwrap_or(usize::MAX);
    let left = (bytes_max / 8 * 5)
        .saturating_sub(content_bytes)
        .saturating_sub(TRUNCATED_BYTES_MAX);
    let mut metadata = cut_metadata(&message.metadata, left, &mut truncated);
    metadata.insert(TRUNCATED.to_owned(), truncated.0.into());
    Message {
        client_id: message.client_id,
        phone: message.phone.clone(),
        message_id: message.message_id.clone(),
        chat: cut_party(&message.chat),
        from: cut_party(&message.from),
        to: cut_party(&message.to),
        timestamp: message.timestamp,
        kind: message.kind.clone(),
        content: content.to_owned(),
        metadata,
        metadata_json: None,
    }
}

/// What was left out of each field.
#[derive(Default)]
struct Truncated(Map<String, Value>);

impl Truncated {
    fn note(&mut self, name: &str, left_out: usize) {
        if left_out == 0 {
            return;
        }
        if name.len() <= NAME_BYTES_MAX && self.0.len() < NAMED_MAX {
            self.0.insert(name.to_owned(), left_out.into());
            return;
        }
        let others = self.0.get("…").and_then(Value::as_u64).unwrap_or(0);
        self.0.insert("…".to_owned(), (others + 1).into());
    }
}

fn cut_party(name: &str) -> String {
    name.chars().take(PARTY_CHARS_MAX).collect()
}

/// The beginning of a text whose JSON has at most so many bytes, with its quotes.
fn cut_text(text: &str, bytes_max: usize) -> &str {
    let mut left = bytes_max.saturating_sub(2);
    for (at, char) in text.char_indices() {
        let bytes = match char {
            '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
            '\0'..='\u{1f}' => 6,
            _ => char.len_utf8(),
        };
        if bytes > left {
            return &text[..at];
        }
        left -= bytes;
    }
    text
}

fn cut_metadata(
    metadata: &Map<String, Value>,
    bytes_max: usize,
    truncated: &mut Truncated,
) -> Map<String, Value> {
    let mut left = bytes_max;
    let mut kept = Map::new();
    let mut later = Vec::new();
    for (name, value) in metadata {
        match field_bytes(name, value, left.min(SMALL_FIELD_BYTES_MAX)) {
            Some(bytes) => {
                left -= bytes;
                kept.insert(name.clone(), value.clone());
            }
            None => later.push((name, value)),
        }
    }
    for (name, value) in later {
        if let Some(bytes) = field_bytes(name, value, left) {
            left -= bytes;
            kept.insert(name.clone(), value.clone());
            continue;
        }
        match (value, field_bytes(name, &Value::Array(Vec::new()), left)) {
            (Value::Array(entries), Some(bytes)) => {
                left -= bytes;
                let first = first_entries(entries, &mut left);
                truncated.note(&format!("metadata.{name}"), entries.len() - first.len());
                kept.insert(name.clone(), first.to_vec().into());
            }
            _ => {
                let bytes = json_bytes(value, usize::MAX).unwrap_or(usize::MAX);
                truncated.note(&format!("metadata.{name}"), bytes);
            }
        }
    }
    kept
}

/// What a field takes in an object; `None` when that is more than `bytes_max`.
fn field_bytes(name: &str, value: &Value, bytes_max: usize) -> Option<usize> {
    let name = json_bytes(name, bytes_max).ok()? + FIELD_BYTES;
    let left = bytes_max.checked_sub(name)?;
    Some(name + json_bytes(value, left).ok()?)
}

/// The first entries of a list that fit together into what is left.
fn first_entries<'a>(entries: &'a [Value], left: &mut usize) -> &'a [Value] {
    for (index, entry) in entries.iter().enumerate() {
        let comma = 1;
        let Ok(bytes) = json_bytes(entry, left.saturating_sub(comma)) else {
            return &entries[..index];
        };
        *left = left.saturating_sub(bytes + comma);
    }
    entries
}
