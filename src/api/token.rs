//! Making tokens.

use rand::{Rng, distr::Alphanumeric};

const PREFIX: &str = "wahook_";
/// 40 letters and digits hold 238 bits.
const TOKEN_CHARS: usize = 40;
const ID_CHARS: usize = 8;

/// A new token's text, and the id to list and revoke it by. The prefix lets secret scanners find
/// it.
pub fn generate() -> (String, String) {
    let text: String = rand::rng()
        .sample_iter(Alphanumeric)
        .take(TOKEN_CHARS)
        .map(char::from)
        .collect();
    let id = text[..ID_CHARS].to_owned();
    (format!("{PREFIX}{text}"), id)
}
