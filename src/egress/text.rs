//! The first bytes of an answer's body, as text for people.

use hyper::{HeaderMap, header};

/// Encodings by their first bytes, for endpoints that do not name them.
const MAGIC: [(&[u8], &str); 2] = [(&[0x1f, 0x8b], "gzip"), (&[0x28, 0xb5, 0x2f, 0xfd], "zstd")];

/// The text; words about it where it is none. wahook asks for no encoding, but some endpoints
/// compress all the same.
pub(super) fn shown(bytes: &[u8], fields: &HeaderMap) -> Option<String> {
    if bytes.is_empty() {
        return None;
    }
    if let Some(encoding) = encoding(bytes, fields) {
        return Some(format!("(a body in the encoding {encoding}, not shown)"));
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => return Some(text.to_owned()),
        // The cut went through a character: what is before it is whole.
        Err(error) if error.error_len().is_none() => {
            String::from_utf8_lossy(&bytes[..error.valid_up_to()])
        }
        Err(_) if bytes.contains(&0) => return Some("(a binary body, not shown)".to_owned()),
        Err(_) => String::from_utf8_lossy(without_cut_character(bytes)),
    };
    Some(text.into_owned())
}

fn encoding(bytes: &[u8], fields: &HeaderMap) -> Option<String> {
    let named = fields
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .find(|name| !name.is_empty() && name != "identity");
    let is_plain = |name: &String| name.len() <= 20 && name.chars().all(|c| c.is_ascii_graphic());
    let seen = MAGIC
        .iter()
        .find(|(magic, _)| bytes.starts_with(magic))
        .map(|(_, name)| (*name).to_owned());
    // Some name an encoding and send plain text.
    let is_text = std::str::from_utf8(bytes).is_ok_and(|text| !text.contains('\0'));
    seen.or(named.filter(is_plain).filter(|_| !is_text))
}

/// Without a character at the end that the cut broke.
fn without_cut_character(bytes: &[u8]) -> &[u8] {
    let is_broken = |rest| {
        std::str::from_utf8(rest)
            .is_err_and(|error| error.error_len().is_none() && error.valid_up_to() == 0)
    };
    let tail = (1..=3.min(bytes.len())).find(|back| is_broken(&bytes[bytes.len() - back..]));
    &bytes[..bytes.len() - tail.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(encoding: &str) -> HeaderMap {
        let value = encoding.parse().expect("a header value");
        HeaderMap::from_iter([(header::CONTENT_ENCODING, value)])
    }

    #[test]
    fn text_is_cut_between_characters() {
        let none = HeaderMap::new();
        let whole = "aéé€😀".as_bytes();
        for end in 1..=whole.len() {
            let text = shown(&whole[..end], &none).expect("has bytes");
            assert!("aéé€😀".starts_with(&text), "{end}: {text}");
            assert!(end - text.len() < 4, "{end}: {text}");
        }
        assert_eq!(shown(b"", &none), None);
        // Latin-1 stays as readable as it can be.
        assert_eq!(
            shown(b"caf\xe9 no \xf0\x9f", &none).as_deref(),
            Some("caf\u{fffd} no ")
        );
    }

    #[test]
    fn encoded_and_binary_bodies_are_named() {
        let gzip = Some("(a body in the encoding gzip, not shown)");
        let none = HeaderMap::new();
        assert_eq!(shown(b"\x1f\x8b\x08\0\xff", &none).as_deref(), gzip);
        assert_eq!(shown(b"\xff\xfe\x00a", &fields("GZIP")).as_deref(), gzip);
        assert_eq!(
            shown(b"\x8b\x02\x80ok\x03", &fields("identity, br")).as_deref(),
            Some("(a body in the encoding br, not shown)")
        );
        assert_eq!(shown(b"plain", &fields("gzip")).as_deref(), Some("plain"));
        assert_eq!(
            shown(b"plain", &fields("identity")).as_deref(),
            Some("plain")
        );
        assert_eq!(
            shown(b"\x89PNG\r\n\x1a\n\0\0\0\r", &none).as_deref(),
            Some("(a binary body, not shown)")
        );
    }
}
