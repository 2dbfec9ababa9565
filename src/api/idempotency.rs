//! The header that makes a repeated request harmless.

use axum::http::HeaderMap;

use super::problem::Problem;

const KEY_CHARS_MAX: usize = 128;

/// The request's `idempotency-key`, if it has one.
///
/// # Errors
/// When the key is empty, too long, or not printable ASCII.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(key) = headers.get("idempotency-key") else {
        return Ok(None);
    };
    let valid = key
        .to_str()
        .ok()
        .filter(|key| (1..=KEY_CHARS_MAX).contains(&key.len()));
    let wrong = || {
        let detail = format!("has 1 to {KEY_CHARS_MAX} printable ASCII characters");
        Problem::field("header:idempotency-key", detail)
    };
    valid.map(Some).ok_or_else(wrong)
}
