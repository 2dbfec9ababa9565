//! Headers of a file that somebody sent: what it is, and its name. Both are the sender's words.

use axum::http::HeaderValue;

use crate::model::{UNKNOWN_MEDIA_TYPE, is_media_type};

/// Characters of a file name that are shown.
const NAME_CHARS_MAX: usize = 150;

/// The type that the sender gave, if it is written as one. A browser that follows
/// the headers beside it shows nothing of any type.
pub(super) fn content_type(mime_type: &str) -> HeaderValue {
    let base = mime_type.split(';').next().unwrap_or_default().trim_end();
    let value = HeaderValue::from_str(mime_type).ok();
    value
        .filter(|value| is_media_type(base) && value.to_str().is_ok())
        .unwrap_or(HeaderValue::from_static(UNKNOWN_MEDIA_TYPE))
}

/// To be saved, never shown, under this name (RFC 6266, RFC 8187).
pub(super) fn disposition(file_name: Option<&str>) -> HeaderValue {
    let plain = HeaderValue::from_static("attachment");
    let Some(name) = file_name.map(safe).filter(|name| !name.is_empty()) else {
        return plain;
    };
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%');
    let ascii: String = name
        .chars()
        .map(|c| if is_plain(c) { c } else { '_' })
        .collect();
    let encoded: String = name.bytes().map(encode).collect();
    let value = format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{encoded}");
    HeaderValue::from_str(&value).unwrap_or(plain)
}

fn encode(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

/// The name without folders, control characters, and marks that hide its end.
fn safe(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_mark = |c: char| {
        let marks = [
            '\u{200b}'..='\u{200f}',
            '\u{2028}'..='\u{202e}',
            '\u{2066}'..='\u{2069}',
        ];
        marks.iter().any(|range| range.contains(&c))
    };
    let is_shown = |c: &char| !c.is_control() && !is_mark(*c);
    let shown: String = last.chars().filter(is_shown).take(NAME_CHARS_MAX).collect();
    shown.trim().trim_start_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_passed_on_as_it_is_if_it_is_one() {
        let same = [
            "image/jpeg",
            "audio/ogg; codecs=opus",
            "text/html",
            "image/svg+xml",
        ];
        for text in same {
            assert_eq!(content_type(text), text);
        }
        let wrong = [
            "",
            "image",
            "image/",
            "/png",
            "a b/c",
            "a/b\r\nx: y",
            "ä/b",
            "a/b/c",
            "a/bü",
        ];
        for text in wrong {
            assert_eq!(content_type(text), UNKNOWN_MEDIA_TYPE, "{text:?}");
        }
    }

    #[test]
    fn a_name_cannot_leave_its_header_or_its_folder() {
        let table = [
            (None, "attachment"),
            (Some(""), "attachment"),
            (Some("../.."), "attachment"),
            (
                Some("a.pdf"),
                "attachment; filename=\"a.pdf\"; filename*=UTF-8''a.pdf",
            ),
            (
                Some("/etc/Ärger 100%.pdf"),
                "attachment; filename=\"_rger 100_.pdf\"; filename*=UTF-8''%C3%84rger%20100%25.pdf",
            ),
            (
                Some("C:\\x\\a\"; b.exe"),
                "attachment; filename=\"a_; b.exe\"; filename*=UTF-8''a%22%3B%20b.exe",
            ),
            (
                Some("gpj.\u{202e}exe\r\nset-cookie: a"),
                "attachment; filename=\"gpj.exeset-cookie: a\"; \
                 filename*=UTF-8''gpj.exeset-cookie%3A%20a",
            ),
            (
                Some(".htaccess"),
                "attachment; filename=\"htaccess\"; filename*=UTF-8''htaccess",
            ),
        ];
        for (name, expected) in table {
            assert_eq!(disposition(name), expected, "{name:?}");
        }
        let long = disposition(Some(&"ä".repeat(10_000)));
        assert!(long.len() < 2000);
    }
}
