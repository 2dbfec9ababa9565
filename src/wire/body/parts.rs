//! What the formats of other gateways need from a message. Its metadata may hold anything, because
//! another gateway may have written it.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use crate::model::{Message, PARTY_CHARS_MAX, parse_hex};

/// Entries of a list that a body in another gateway's format shows. Each entry grows there: a
/// number becomes an object, or gets a domain.
pub(super) const LIST_MAX: usize = 256;

/// A message with its conversation.
pub(super) struct Parts<'a> {
    pub(super) message: &'a Message,
    /// The conversation. Not `message.chat`: in receipts that field also holds the status, to tell
    /// two receipts of one message apart.
    pub(super) chat: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn of(message: &'a Message) -> Self {
        let chat = message
            .metadata
            .get("chat")
            .and_then(Value::as_str)
            // Some bodies name the chat several times, so a longer one would multiply.
            .filter(|chat| (1..=PARTY_CHARS_MAX).contains(&chat.chars().count()));
        Self {
            message,
            chat: chat.unwrap_or(&message.chat),
        }
    }

    pub(super) fn is_group(&self) -> bool {
        self.chat.ends_with("@g.us")
    }

    /// Whether the account itself sent it.
    pub(super) fn is_own(&self) -> bool {
        self.message
            .metadata
            .get("from_me")
            .and_then(Value::as_bool)
            .unwrap_or_default()
    }

    /// The sender's id that shows no number, where it is known.
    pub(super) fn lid(&self) -> Option<&'a str> {
        let named = self.text("from_lid");
        named.or_else(|| Some(self.message.from.as_str()).filter(|from| from.ends_with("@lid")))
    }

    pub(super) fn push_name(&self) -> Option<&'a str> {
        self.message
            .metadata
            .get("push_name")
            .and_then(Value::as_str)
    }

    /// An object of the metadata; an empty one when it is missing.
    pub(super) fn object(&self, key: &str) -> Object<'a> {
        Object(self.message.metadata.get(key).and_then(Value::as_object))
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.message.metadata.get(key).and_then(Value::as_str)
    }

    /// A text, a number, or a boolean of the metadata.
    pub(super) fn scalar(&self, key: &str) -> Option<&'a Value> {
        Object(Some(&self.message.metadata)).get(key)
    }

    /// The first [`LIST_MAX`] entries of a list of the metadata; none when it is missing.
    pub(super) fn list(&self, key: &str) -> &'a [Value] {
        Object(Some(&self.message.metadata)).list(key)
    }

    /// The text, unless it is empty.
    pub(super) fn content(&self) -> Option<&'a str> {
        Some(self.message.content.as_str()).filter(|text| !text.is_empty())
    }
}

/// An object that may be missing, with fields that may be missing.
#[derive(Clone, Copy)]
pub(super) struct Object<'a>(Option<&'a Map<String, Value>>);

impl<'a> Object<'a> {
    pub(super) fn is_there(self) -> bool {
        self.0.is_some()
    }

    /// A value as an object; an empty one when it is none.
    pub(super) fn of(value: &'a Value) -> Self {
        Self(value.as_object())
    }

    /// A field that is a text, a number or a boolean. None of the formats has more in one field,
    /// and a copy of more may be large.
    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.0
            .and_then(|map| map.get(key))
            .filter(|value| is_scalar(value))
    }

    /// The first [`LIST_MAX`] entries of a list; none when it is missing.
    pub(super) fn list(self, key: &str) -> &'a [Value] {
        let list = self
            .0
            .and_then(|map| map.get(key))
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        &list[..list.len().min(LIST_MAX)]
    }

    pub(super) fn text(self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The hash of the media in base64, as Meta and WhatsApp's protocol write it. Metadata has it
    /// in hex.
    pub(super) fn sha256_base64(self) -> Option<String> {
        let hash = self.text("sha256").and_then(parse_hex)?;
        (hash.len() == 32).then(|| BASE64_STANDARD.encode(hash))
    }

    /// The path of the file in the API.
    pub(super) fn media_path(self) -> Option<String> {
        self.text("id").map(|id| format!("/api/media/{id}"))
    }
}

/// Whether a value is a text, a number or a boolean.
pub(super) fn is_scalar(value: &Value) -> bool {
    matches!(value, Value::String(_) | Value::Number(_) | Value::Bool(_))
}

/// A JSON object with the fields of both.
pub(super) fn merged(mut head: Value, further: Value) -> Value {
    if let Some(fields) = head.as_object_mut()
        && let Value::Object(further) = further
    {
        fields.extend(further);
    }
    head
}

/// A JSON object without its nulls.
pub(super) fn object(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

/// A name as `number@domain`. A name that has another domain keeps it.
pub(super) fn jid(name: &str, domain: &str) -> String {
    match name.split_once('@') {
        None => format!("{name}@{domain}"),
        Some((user, "s.whatsapp.net" | "c.us")) => format!("{user}@{domain}"),
        Some(_) => name.to_owned(),
    }
}

/// The number alone. A name that is not a number is not changed.
pub(super) fn bare(name: &str) -> &str {
    name.strip_suffix("@s.whatsapp.net")
        .or_else(|| name.strip_suffix("@c.us"))
        .unwrap_or(name)
}
