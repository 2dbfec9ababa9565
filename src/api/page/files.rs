//! The page's files, compiled in.

use std::{io::Write, sync::LazyLock};

use axum::{
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};

use super::super::problem::Problem;

/// Scripts and styles from this host alone, none of them inline; no other host is asked for
/// anything, and no other site may show the page in a frame. `blob:` is for the QR codes, which
/// need a request with the cookie's header.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// Headers of every file.
const HEADERS: [(header::HeaderName, &str); 7] = [
    (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    // A browser asks each time whether the file is still the same: after an update nobody sees a
    // mixture.
    (header::CACHE_CONTROL, "no-cache"),
    (header::VARY, "accept-encoding"),
    (
        header::HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// A file, compressed once, when it is first asked for.
struct File {
    name: &'static str,
    content_type: &'static str,
    bytes: &'static [u8],
    gzip: LazyLock<Vec<u8>>,
    etag: LazyLock<String>,
}

macro_rules! file {
    ($name:literal, $content_type:literal) => {
        File {
            name: $name,
            content_type: $content_type,
            bytes: include_bytes!(concat!("assets/", $name)),
            gzip: LazyLock::new(|| gzip(include_bytes!(concat!("assets/", $name)))),
            etag: LazyLock::new(|| etag(include_bytes!(concat!("assets/", $name)))),
        }
    };
}

static INDEX: File = file!("index.html", "text/html; charset=utf-8");
static FILES: [File; 3] = [
    file!("app.js", "text/javascript; charset=utf-8"),
    file!("app.css", "text/css; charset=utf-8"),
    file!("icon.svg", "image/svg+xml"),
];

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail")
}

/// A weak one, since both encodings have it.
fn etag(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    format!("W/\"{}\"", BASE64_URL_SAFE_NO_PAD.encode(&hash[..12]))
}

/// `GET /`.
pub(super) async fn index(headers: HeaderMap) -> Response {
    answer(&INDEX, &headers)
}

/// `GET /page/{file}`.
pub(super) async fn file(uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    // Not by axum's `Path`, which answers bytes that are no text without a problem.
    let name = uri.path().strip_prefix("/page/");
    let file = FILES.iter().find(|file| Some(file.name) == name);
    let file = file.ok_or_else(Problem::not_found)?;
    Ok(answer(file, &headers))
}

fn answer(file: &'static File, asked: &HeaderMap) -> Response {
    let etag = HeaderValue::from_str(&file.etag).expect("base64");
    if asked.get(header::IF_NONE_MATCH) == Some(&etag) {
        let headers = [(header::ETAG, etag)];
        return (StatusCode::NOT_MODIFIED, HEADERS, headers).into_response();
    }
    let mut headers = HeaderMap::new();
    headers.insert(header::ETAG, etag);
    let content_type = HeaderValue::from_static(file.content_type);
    headers.insert(header::CONTENT_TYPE, content_type);
    if !takes_gzip(asked) {
        return (HEADERS, headers, file.bytes).into_response();
    }
    let encoding = HeaderValue::from_static("gzip");
    headers.insert(header::CONTENT_ENCODING, encoding);
    (HEADERS, headers, file.gzip.as_slice()).into_response()
}

/// Whether the caller takes gzip. A weight of 0 refuses it.
fn takes_gzip(asked: &HeaderMap) -> bool {
    let encodings = asked.get(header::ACCEPT_ENCODING);
    let encodings = encodings
        .and_then(|text| text.to_str().ok())
        .unwrap_or_default();
    encodings.split(',').any(|encoding| {
        let mut parts = encoding.split(';').map(str::trim);
        let is_gzip = parts.next() == Some("gzip");
        is_gzip && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bound of the whole page as it is sent.
    const COMPRESSED_BYTES_MAX: usize = 200 * 1024;

    #[test]
    fn the_page_is_small() {
        let bytes = FILES.iter().map(|file| file.gzip.len()).sum::<usize>() + INDEX.gzip.len();
        assert!(bytes <= COMPRESSED_BYTES_MAX, "{bytes} bytes");
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (encodings, takes) in [
            ("gzip, deflate, br", true),
            ("br;q=1.0, gzip;q=0.8", true),
            ("gzip;q=0", false),
            ("identity", false),
            ("xgzip", false),
        ] {
            let mut headers = HeaderMap::new();
            let value = HeaderValue::from_static(encodings);
            headers.insert(header::ACCEPT_ENCODING, value);
            assert_eq!(takes_gzip(&headers), takes, "{encodings}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
