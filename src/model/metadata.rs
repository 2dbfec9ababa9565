//! Metadata: a JSON object that its sender gets back as it was written.

use std::collections::HashMap;

use memchr::memchr2;
use serde_json::{Map, Value};

/// Levels of lists and objects in metadata. JSON readers of receivers stop at about 100.
pub const METADATA_DEPTH_MAX: usize = 64;
/// Values in metadata: objects, lists, texts, numbers, booleans and nulls. Each takes up to some
/// 650 bytes of memory, whatever its JSON takes.
pub const METADATA_VALUES_MAX: usize = 20_000;

/// Why metadata is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    /// It is another JSON value.
    #[error("is an object")]
    NotAnObject,
    /// More levels than [`METADATA_DEPTH_MAX`].
    #[error("lists and objects are nested at most {METADATA_DEPTH_MAX} levels deep")]
    TooDeep,
    /// More values than [`METADATA_VALUES_MAX`].
    #[error("has at most {METADATA_VALUES_MAX} values, counting those in lists and objects")]
    TooManyValues,
}

/// Metadata that somebody wrote.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Metadata {
    /// Its fields. Numbers may have lost digits here; one that no 64 bits can hold is null.
    pub fields: Map<String, Value>,
    /// Its JSON with each number as it was written and the fields in their order. `None` when the
    /// JSON of `fields` is the same.
    pub json: Option<String>,
}

/// Reads metadata from its JSON, which must be valid. Of several fields with one name the last
/// counts, at the place of the first.
///
/// # Errors
/// When it is no object, or does not keep its limits.
///
/// # Examples
///
/// ```
/// use wahook::model::parse_metadata;
///
/// let metadata = parse_metadata(r#"{ "b": 1.0, "a": 12345678901234567890123, "b": 2.50 }"#)?;
/// let json = r#"{"b":2.50,"a":12345678901234567890123}"#;
/// assert_eq!(metadata.json.as_deref(), Some(json));
/// assert_eq!(metadata.fields["b"], 2.5);
/// # Ok::<(), wahook::model::MetadataError>(())
/// ```
pub fn parse_metadata(json: &str) -> Result<Metadata, MetadataError> {
    let mut reader = Reader {
        text: json,
        at: 0,
        values_left: METADATA_VALUES_MAX,
        written: String::with_capacity(json.len()),
    };
    if reader.peek() != Some(b'{') {
        return Err(MetadataError::NotAnObject);
    }
    let fields = reader.object(METADATA_DEPTH_MAX)?;
    let written = reader.written;
    let is_plain = serde_json::to_string(&fields).is_ok_and(|plain| plain == written);
    Ok(Metadata {
        fields,
        json: (!is_plain).then_some(written),
    })
}

/// Reads valid JSON and writes it again without blanks.
struct Reader<'a> {
    text: &'a str,
    at: usize,
    values_left: usize,
    written: String,
}

impl<'a> Reader<'a> {
    /// The first byte that is no blank.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    /// Passes a byte over, and writes it.
    fn copy(&mut self, byte: u8) {
        self.at += 1;
        self.written.push(char::from(byte));
    }

    fn value(&mut self, depth: usize) -> Result<Value, MetadataError> {
        let left = self.values_left.checked_sub(1);
        self.values_left = left.ok_or(MetadataError::TooManyValues)?;
        let inner = || depth.checked_sub(1).ok_or(MetadataError::TooDeep);
        match self.peek() {
            Some(b'{') => self.object(inner()?).map(Value::Object),
            Some(b'[') => self.list(inner()?).map(Value::Array),
            Some(b'"') => Ok(Value::String(self.string())),
            _ => Ok(self.scalar()),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value>, MetadataError> {
        let mut entries = Vec::new();
        self.copy(b'[');
        while let Some(byte) = self.peek() {
            match byte {
                b']' => {
                    self.copy(byte);
                    break;
                }
                b',' => self.copy(byte),
                _ => entries.push(self.value(depth)?),
            }
        }
        Ok(entries)
    }

    fn object(&mut self, depth: usize) -> Result<Map<String, Value>, MetadataError> {
        let begin = self.written.len();
        let mut fields = Map::new();
        // Where each field's text is, in the order of the first of its name.
        let mut texts = Vec::new();
        let mut by_name: HashMap<String, usize> = HashMap::new();
        let mut has_repeated = false;
        self.copy(b'{');
        while let Some(byte) = self.peek() {
            match byte {
                b'}' => {
                    self.copy(byte);
                    break;
                }
                b',' => self.copy(byte),
                b'"' => {
                    let field_begin = self.written.len();
                    let name = self.string();
                    if self.peek() == Some(b':') {
                        self.copy(b':');
                    }
                    let value = self.value(depth)?;
                    let text = field_begin..self.written.len();
                    if let Some(known) = by_name.get(&name) {
                        has_repeated = true;
                        texts[*known] = text;
                    } else {
                        by_name.insert(name.clone(), texts.len());
                        texts.push(text);
                    }
                    fields.insert(name, value);
                }
                // No valid JSON goes on like this.
                _ => break,
            }
        }
        if has_repeated {
            let texts: Vec<&str> = texts.into_iter().map(|text| &self.written[text]).collect();
            let object = format!("{{{}}}", texts.join(","));
            self.written.truncate(begin);
            self.written.push_str(&object);
        }
        Ok(fields)
    }

    /// Copies a string; what it says.
    fn string(&mut self) -> String {
        let bytes = self.text.as_bytes();
        let mut end = self.at + 1;
        loop {
            let next = bytes.get(end..).and_then(|rest| memchr2(b'"', b'\\', rest));
            end = next.map_or(bytes.len(), |next| end + next);
            if bytes.get(end) != Some(&b'\\') {
                break;
            }
            end += 2;
        }
        let token = self.token(end + 1);
        serde_json::from_str(token).unwrap_or_default()
    }

    /// Copies a number, a boolean or null.
    fn scalar(&mut self) -> Value {
        let bytes = self.text.as_bytes();
        let is_end = |byte: &u8| matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
        let length = bytes[self.at..].iter().position(is_end);
        let token = self.token(length.map_or(bytes.len(), |length| self.at + length));
        token.parse().unwrap_or_default()
    }

    fn token(&mut self, end: usize) -> &'a str {
        // The last of an invalid text may be no whole token.
        let token = self.text.get(self.at..end).unwrap_or(&self.text[self.at..]);
        self.at += token.len();
        self.written.push_str(token);
        token
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{json, value::RawValue};

    use super::*;

    fn written(json: &str) -> String {
        let metadata = parse_metadata(json).expect(json);
        let plain = Value::from(metadata.fields).to_string();
        metadata.json.unwrap_or(plain)
    }

    #[test]
    fn numbers_order_and_escapes_stay_as_written() {
        for json in [
            r#"{}"#,
            r#"{"b":1.0,"a":12345678901234567890}"#,
            r#"{"a":1e400,"b":-0,"c":0.10000000000000000000001,"d":1E+2}"#,
            r#"{"z":{"y":[1.0,{"x":[]}],"b":null},"a":true}"#,
            r#"{"\u00e4\n":"\ud83d\ude00\\\"","ä":"}{][,:"}"#,
        ] {
            assert_eq!(written(json), json);
            let spaced = json.replace(':', " :\t").replace(",\"", "\r\n, \"");
            if !json.contains("}{") {
                assert_eq!(written(&spaced), json, "{spaced}");
            }
        }
        let fields = parse_metadata(r#"{"a":1e400,"b":2}"#)
            .expect("valid")
            .fields;
        assert_eq!(Value::from(fields), json!({"a": null, "b": 2}));
        let plain = parse_metadata(r#"{"a":1,"b":"x"}"#).expect("valid");
        assert_eq!(plain.json, None, "the fields say the same");
    }

    #[test]
    fn the_last_of_fields_with_one_name_counts_at_the_place_of_the_first() {
        for (given, expected) in [
            (r#"{"a":1,"b":2,"a":3}"#, r#"{"a":3,"b":2}"#),
            (r#"{"a":1,"\u0061":2.0}"#, r#"{"\u0061":2.0}"#),
            (
                r#"{"l":[{"x":1,"x":2},{"y":3}]}"#,
                r#"{"l":[{"x":2},{"y":3}]}"#,
            ),
            (
                r#"{"o":{"x":1,"x":{"y":1,"y":2}},"o":0,"p":[]}"#,
                r#"{"o":0,"p":[]}"#,
            ),
        ] {
            assert_eq!(written(given), expected, "{given}");
        }
    }

    #[test]
    fn limits_hold_before_memory_is_taken() {
        for wrong in ["[]", "1", "\"x\"", "null", " [ ] "] {
            assert_eq!(
                parse_metadata(wrong),
                Err(MetadataError::NotAnObject),
                "{wrong}"
            );
        }
        let nested = |levels: usize| {
            let lists = "[".repeat(levels) + &"]".repeat(levels);
            format!("{{\"a\":{lists}}}")
        };
        assert!(parse_metadata(&nested(METADATA_DEPTH_MAX)).is_ok());
        for levels in [METADATA_DEPTH_MAX + 1, 100_000] {
            let error = parse_metadata(&nested(levels));
            assert_eq!(error, Err(MetadataError::TooDeep), "{levels}");
        }
        let long = |count: usize| format!("{{\"a\":[{}]}}", vec!["0"; count].join(","));
        assert!(parse_metadata(&long(METADATA_VALUES_MAX - 1)).is_ok());
        let error = parse_metadata(&long(METADATA_VALUES_MAX));
        assert_eq!(error, Err(MetadataError::TooManyValues));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(Value::from_iter),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_object_has_the_fields_that_serde_reads(
            fields in prop::collection::btree_map(".{0,4}", any_value(), 0..6),
        ) {
            let value = Value::from_iter(fields);
            for text in [value.to_string(), format!("{value:#}")] {
                let metadata = parse_metadata(&text).expect("an object");
                // Not `value`: serde_json reads some numbers as their neighbours.
                let read: Map<String, Value> = serde_json::from_str(&text).expect("an object");
                prop_assert_eq!(metadata.fields, read);
                prop_assert_eq!(written(&text), value.to_string());
            }
        }

        #[test]
        fn any_text_is_read_or_refused_without_panic(text in r#"\{[\[\]{}",:\\ a1ä]{0,40}"#) {
            let read = parse_metadata(&text);
            if let (Ok(_), Ok(metadata)) = (serde_json::from_str::<&RawValue>(&text), &read)
                && let Some(json) = &metadata.json
            {
                prop_assert!(serde_json::from_str::<&RawValue>(json).is_ok(), "{}", json);
            }
        }
    }
}
