//! What the foreign formats need to know of a message. Its metadata may hold anything: another
//! gateway wrote it.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

use crate::model::Message;

/// A message, read.
pub(super) struct Parts<'a> {
    pub(super) message: &'a Message,
    /// The conversation; for receipts the message's own field tells two of them apart and is no
    /// name.
    pub(super) chat: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn of(message: &'a Message) -> Self {
        let chat = message
            .metadata
            .get("chat")
            .and_then(Value::as_str)
            .filter(|chat| !chat.is_empty());
        Self {
            message,
            chat: chat.unwrap_or(&message.chat),
        }
    }

    pub(super) fn is_group(&self) -> bool {
        self.chat.ends_with("@g.us")
    }

    /// Whether the account itself wrote it.
    pub(super) fn is_own(&self) -> bool {
        self.message
            .metadata
            .get("from_me")
            .and_then(Value::as_bool)
            .unwrap_or_default()
    }

    pub(super) fn push_name(&self) -> Option<&'a str> {
        self.message
            .metadata
            .get("push_name")
            .and_then(Value::as_str)
    }

    /// An object of the metadata; an empty one when there is none.
    pub(super) fn object(&self, key: &str) -> Object<'a> {
        Object(self.message.metadata.get(key).and_then(Value::as_object))
    }

    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        self.message.metadata.get(key).and_then(Value::as_str)
    }

    pub(super) fn list(&self, key: &str) -> &'a [Value] {
        self.message
            .metadata
            .get(key)
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// Text, when there is any.
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

    /// A field as it is.
    pub(super) fn get(self, key: &str) -> Option<&'a Value> {
        self.0
            .and_then(|map| map.get(key))
            .filter(|value| !value.is_null())
    }

    pub(super) fn text(self, key: &str) -> Option<&'a str> {
        self.get(key).and_then(Value::as_str)
    }

    /// The media's hash, which metadata writes in hex, in base64 as WhatsApp's protocol and Meta
    /// do.
    pub(super) fn sha256_base64(self) -> Option<String> {
        let hex = self
            .text("sha256")
            .filter(|hex| hex.len() == 64 && hex.is_ascii())?;
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).ok();
        let bytes: Option<Vec<u8>> = (0..64).step_by(2).map(byte).collect();
        Some(BASE64_STANDARD.encode(bytes?))
    }

    /// Where the API gives the file out.
    pub(super) fn media_path(self) -> Option<String> {
        self.text("id").map(|id| format!("/api/media/{id}"))
    }
}

/// A JSON object without its nulls.
pub(super) fn object(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

/// A name as `number@domain`; names that have a domain keep it.
pub(super) fn jid(name: &str, domain: &str) -> String {
    match name.split_once('@') {
        None => format!("{name}@{domain}"),
        Some((user, "s.whatsapp.net" | "c.us")) => format!("{user}@{domain}"),
        Some(_) => name.to_owned(),
    }
}

/// The number alone; what is no number stays whole.
pub(super) fn bare(name: &str) -> &str {
    name.strip_suffix("@s.whatsapp.net")
        .or_else(|| name.strip_suffix("@c.us"))
        .unwrap_or(name)
}
