//! The id of a request: the caller's own, or a new one.

use axum::{extract::Request, http::HeaderValue};
use uuid::Uuid;

/// The header that carries it, both ways.
pub(super) const HEADER: &str = "x-request-id";
const ID_CHARS_MAX: usize = 64;

tokio::task_local! {
    static REQUEST_ID: String;
}

/// The id of the request that this task serves; empty outside of a request.
pub(super) fn request_id() -> String {
    REQUEST_ID.try_with(Clone::clone).unwrap_or_default()
}

/// Runs the part of a request that may ask for its id.
pub(super) async fn with_request_id<F: Future>(id: String, part: F) -> F::Output {
    REQUEST_ID.scope(id, part).await
}

/// The caller's own id if it is safe to log and to send back; else a new one.
pub(super) fn id_of(request: &Request) -> String {
    request
        .headers()
        .get(HEADER)
        .and_then(|value| value.to_str().ok())
        .filter(|id| is_plain(id))
        .map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// The same as the value of a header.
pub(super) fn header_value(id: &str) -> HeaderValue {
    HeaderValue::from_str(id).expect("an id has only letters, digits, -, _ and .")
}

fn is_plain(id: &str) -> bool {
    let is_plain_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(is_plain_byte)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    fn id_for(header: &str) -> String {
        let request = Request::builder().header(HEADER, header);
        id_of(&request.body(Body::empty()).expect("a valid request"))
    }

    #[test]
    fn a_plain_id_is_kept_and_any_other_is_replaced() {
        assert_eq!(id_for("mine-1_a.b"), "mine-1_a.b");
        let too_long = "x".repeat(ID_CHARS_MAX + 1);
        for other in ["", "two words", "a/b", "a\"b", too_long.as_str()] {
            let id = id_for(other);
            assert!(id != other && is_plain(&id), "{id}");
        }
    }
}
