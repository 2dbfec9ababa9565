//! JSON bodies: read within bounds, and with errors that name their field.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
};
use memchr::memchr;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use super::{
    AppState,
    auth::Caller,
    problem::{Code, Problem},
};
use crate::model::ClientId;

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

/// Whether the body of a request is being read now. It tells a slow caller from a slow handler.
#[derive(Debug, Clone, Default)]
pub(super) struct BodyProgress(Arc<AtomicBool>);

impl BodyProgress {
    /// Whether the body is being read.
    pub(super) fn is_reading(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn set(&self, is_reading: bool) {
        self.0.store(is_reading, Ordering::Relaxed);
    }
}

/// A JSON body that was not parsed yet.
pub(super) struct JsonBytes(Bytes);

impl JsonBytes {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Parses it; a large one in the client's turn.
    pub(super) async fn parse<T: DeserializeOwned>(
        self,
        app: &AppState,
        client: Option<ClientId>,
    ) -> Result<T, Problem> {
        let count = self.len();
        let parse = || parse(self.0.into());
        app.heavy.run(client, count, parse).await
    }
}

impl<T: DeserializeOwned> FromRequest<AppState> for Body<T> {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &AppState) -> Result<Self, Problem> {
        let caller: Option<Caller> = request.extensions().get().copied();
        let client = caller.map(|Caller(client)| client);
        let bytes = JsonBytes::from_request(request, app).await?;
        bytes.parse(app, client).await.map(Self)
    }
}

impl FromRequest<AppState> for JsonBytes {
    type Rejection = Problem;
    async fn from_request(request: Request, app: &AppState) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                Code::NotJson,
                "send `content-type: application/json`",
            ));
        }
        let progress: BodyProgress = request.extensions().get().cloned().unwrap_or_default();
        progress.set(true);
        let read = Bytes::from_request(request, app).await;
        progress.set(false);
        let bytes = read.map_err(|rejection| {
            if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
                return too_large(app.settings.body_bytes_max);
            }
            Problem::new(Code::InvalidJson, "the body did not arrive whole")
        })?;
        Ok(Self(bytes))
    }
}

/// The problem of a body with more bytes than this.
pub(super) fn too_large(bytes_max: usize) -> Problem {
    Problem::new(
        Code::TooLarge,
        format!("a body has at most {bytes_max} bytes"),
    )
}

fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let essence = content_type
        .and_then(|text| text.split(';').next())
        .unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/json")
}

fn parse<T: DeserializeOwned>(mut bytes: Vec<u8>) -> Result<T, Problem> {
    replace_lone_surrogates(&mut bytes);
    let mut json = serde_json::Deserializer::from_slice(&bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let detail = error.inner().to_string();
        match error.inner().classify() {
            serde_json::error::Category::Data => {
                Problem::json_field(pointer(error.path(), &detail), without_place(&detail))
            }
            _ => Problem::new(Code::InvalidJson, detail),
        }
    })?;
    json.end()
        .map_err(|error| Problem::new(Code::InvalidJson, error.to_string()))?;
    Ok(value)
}

/// The JSON pointer (RFC 6901) of the place that an error is about.
fn pointer(path: &Path, detail: &str) -> String {
    let mut pointer = String::new();
    let mut push = |name: &str| {
        pointer.push('/');
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
    };
    let mut last = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => last = index.to_string(),
            Segment::Map { key } => last.clone_from(key),
            Segment::Enum { variant } => last.clone_from(variant),
            Segment::Unknown => continue,
        }
        push(&last);
    }
    // A missing or doubled field is named in the text, and the path ends at its parent.
    let named = ["missing field `", "duplicate field `", "unknown field `"]
        .iter()
        .find_map(|start| detail.strip_prefix(start)?.split_once('`'));
    if let Some((name, _)) = named
        && name != last
    {
        push(name);
    }
    pointer
}

/// The text without ` at line 1 column 21`: the field says more.
fn without_place(detail: &str) -> String {
    let end = detail.rfind(" at line ").unwrap_or(detail.len());
    detail[..end].to_owned()
}

/// Replaces each `\ud83d` that is half of a pair by `\ufffd`. JavaScript writes such a half where a
/// text was cut inside a character; RFC 8259 allows it, and no UTF-8 text can hold it.
fn replace_lone_surrogates(json: &mut [u8]) {
    let mut at = 0;
    while let Some(next) = json.get(at..).and_then(|rest| memchr(b'\\', rest)) {
        at += next;
        match escaped(json, at) {
            Some(0xd800..=0xdbff) => match escaped(json, at + 6) {
                Some(0xdc00..=0xdfff) => at += 12,
                _ => at = replace(json, at),
            },
            Some(0xdc00..=0xdfff) => at = replace(json, at),
            // Any other escape: its second character may be a backslash.
            _ => at += 2,
        }
    }
}

/// The code unit of a `\uXXXX` that begins here.
fn escaped(json: &[u8], at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix(b"\\u")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()
}

fn replace(json: &mut [u8], at: usize) -> usize {
    json[at..at + 6].copy_from_slice(b"\\ufffd");
    at + 6
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;
    use serde_json::Value;

    use super::*;

    fn replaced(text: &str) -> String {
        let mut bytes = text.as_bytes().to_vec();
        replace_lone_surrogates(&mut bytes);
        String::from_utf8(bytes).expect("ASCII replaced by ASCII")
    }

    #[test]
    fn halves_of_surrogate_pairs_are_replaced_and_pairs_stay() {
        for (given, expected) in [
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            (r#""\ude00\ud83d""#, r#""\ufffd\ufffd""#),
            (r#""\uD83D\uD83D\uDE00""#, r#""\ufffd\uD83D\uDE00""#),
            // The backslash is escaped itself: this is text.
            (r#""\\ud83d""#, r#""\\ud83d""#),
            (r#""\\\ud83dx""#, r#""\\\ufffdx""#),
            (r#""\ud83d\n""#, r#""\ufffd\n""#),
            (r#""\ud83"#, r#""\ud83"#),
        ] {
            assert_eq!(replaced(given), expected);
        }
    }

    proptest! {
        #[test]
        fn any_text_of_escapes_can_be_read(units: Vec<u16>) {
            let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let read: Value = parse(format!("\"{escapes}\"").into_bytes()).expect("valid");
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes: Vec<u8>) {
            let _ = parse::<Value>(bytes);
        }
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        #[expect(dead_code, reason = "only read by serde")]
        number: u8,
        #[expect(dead_code, reason = "only read by serde")]
        list: Vec<Inner>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only read by serde")]
        name: String,
    }

    #[test]
    fn each_wrong_value_names_its_field() {
        for (json, expected) in [
            (r#"{"number": null, "list": []}"#, "/number"),
            (r#"{"number": 256, "list": []}"#, "/number"),
            (
                r#"{"number": 1, "list": [{"name": "a"}, {"name": 7}]}"#,
                "/list/1/name",
            ),
            (r#"{"number": 1, "list": [{}]}"#, "/list/0/name"),
            (r#"{"number": 1}"#, "/list"),
            (r#"{"number": 1, "number": 2, "list": []}"#, "/number"),
            (r#"{"number": 1, "list": [], "a/b": 1}"#, "/a~1b"),
            (r#"[1]"#, ""),
            (r#""text""#, ""),
        ] {
            let problem = parse::<Example>(json.into()).expect_err(json);
            assert_eq!(problem.pointers(), [expected], "{json}");
        }
        for json in ["", "{", "{\"number\"", "{} {}"] {
            let problem = parse::<Example>(json.into()).expect_err(json);
            assert!(problem.pointers().len() <= 1, "{json}");
        }
    }
}
