//! The content of a message, and helpers that make it.

use serde_json::{Map, Value, json};

use super::target::Target;
use crate::{
    ingest::media::Reference,
    model::{CONTENT_BYTES_MAX, Kind},
};

/// Entries of a list in metadata: mentions, contacts, poll options.
pub(super) const LIST_MAX: usize = 100;
/// Characters of a short text in metadata: names, titles, addresses.
const SHORT_CHARS_MAX: usize = 1024;

/// What a message says, in wahook's terms.
#[derive(Debug, PartialEq)]
pub(in crate::ingest) struct Content {
    pub(in crate::ingest) kind: Kind,
    pub(in crate::ingest) text: String,
    pub(in crate::ingest) metadata: Map<String, Value>,
    /// Where its media are, and the key to them.
    pub(in crate::ingest) media: Option<Reference>,
    /// The message that it is about.
    pub(in crate::ingest) target: Option<Target>,
    /// A vote that is still to be read.
    pub(in crate::ingest) vote: Option<SealedVote>,
}

/// A vote as it comes: only those who have the poll's secret can read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ingest) struct SealedVote {
    pub(in crate::ingest) payload: Vec<u8>,
    pub(in crate::ingest) iv: Vec<u8>,
}

impl Content {
    pub(super) fn new(kind: Kind, text: Option<&str>) -> Self {
        Self {
            kind,
            text: cut(text.unwrap_or_default(), CONTENT_BYTES_MAX),
            metadata: Map::new(),
            media: None,
            target: None,
            vote: None,
        }
    }

    /// The content of a message that wahook cannot read.
    pub(in crate::ingest) fn unknown() -> Self {
        Self::new(Kind::Unknown, None)
    }

    /// The content of a message that came without it.
    pub(in crate::ingest) fn unavailable(reason: &str) -> Self {
        Self::new(Kind::Unavailable, None).with("unavailable", json!({"reason": reason}))
    }

    /// What is shown of it in a line.
    pub(in crate::ingest) fn set_text(&mut self, text: &str) {
        self.text = cut(text, CONTENT_BYTES_MAX);
    }

    pub(super) fn about(mut self, target: Option<Target>) -> Self {
        self.target = target;
        self
    }

    pub(in crate::ingest) fn with(mut self, key: &str, value: Value) -> Self {
        if !value.is_null() {
            self.metadata.insert(key.to_owned(), value);
        }
        self
    }
}

/// The text up to `bytes_max`, never half a character.
pub(super) fn cut(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

/// The text up to [`SHORT_CHARS_MAX`].
pub(super) fn short(text: Option<&String>) -> Value {
    text.map_or(Value::Null, |text| {
        text.chars()
            .take(SHORT_CHARS_MAX)
            .collect::<String>()
            .into()
    })
}

pub(in crate::ingest) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A JSON object without its nulls.
pub(super) fn object(mut value: Value) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

/// A JSON object with the fields of both, the second's without its nulls.
pub(super) fn merged(mut first: Value, second: Value) -> Value {
    if let (Value::Object(fields), Value::Object(further)) = (&mut first, object(second)) {
        fields.extend(further);
    }
    first
}
