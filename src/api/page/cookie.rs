//! The cookie that stands for a token.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    model::{ClientId, Timestamp, TokenHash},
    wire::{decode_opaque_id, encode_opaque_id, mac},
};

/// A page session ends after this, used or not. It must be shorter than the bus remembers that
/// somebody signed out.
pub(super) const SESSION_MAX: Duration = Duration::from_secs(12 * 3600);
/// Over TLS. Browsers take a name with this prefix from nobody but this very host.
const SECURE_NAME: &str = "__Host-wahook-page";
/// Over plain HTTP, where the prefix is not allowed.
const PLAIN_NAME: &str = "wahook-page";

/// How the browser reached the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tls,
    Plain,
}

impl Transport {
    /// The name and the further attributes of the cookie.
    fn form(self) -> (&'static str, &'static str) {
        match self {
            Self::Tls => (SECURE_NAME, "; Secure"),
            Self::Plain => (PLAIN_NAME, ""),
        }
    }
}

/// Somebody who signed in. The token itself is not in it, so somebody who gets a cookie and
/// the key that seals it still has no token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::api) struct PageSession {
    pub(in crate::api) token: TokenHash,
    pub(in crate::api) id: Uuid,
    pub(super) ends_at: Timestamp,
}

/// The key of cookies, made of the key of cursors so that neither opens what the other sealed.
fn key(cursor_key: &[u8; 32]) -> [u8; 32] {
    mac(cursor_key, b"page session")
}

impl PageSession {
    /// The value of the cookie: the client, and the session sealed for this client.
    pub(super) fn seal(&self, cursor_key: &[u8; 32], client: ClientId) -> String {
        let sealed = encode_opaque_id(&key(cursor_key), client, self);
        format!("{client}.{sealed}")
    }

    fn open(cursor_key: &[u8; 32], value: &str) -> Option<Self> {
        let (client, sealed) = value.split_once('.')?;
        let client = client.parse().ok()?;
        decode_opaque_id(&key(cursor_key), client, sealed)
    }
}

/// The page session of a request; `None` when it has none that is valid now.
pub(in crate::api) fn session(
    cursor_key: &[u8; 32],
    headers: &HeaderMap,
    now: Timestamp,
) -> Option<PageSession> {
    let value = value(headers, SECURE_NAME).or_else(|| value(headers, PLAIN_NAME))?;
    let session = PageSession::open(cursor_key, value)?;
    (session.ends_at > now).then_some(session)
}

/// The value of the first cookie of this name.
fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter();
    let pairs = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(';'));
    pairs
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(known, value)| (known == name).then_some(value))
}

/// Sets the cookie for this long.
pub(super) fn set(value: &str, max_age: Duration, transport: Transport) -> HeaderValue {
    let (name, more) = transport.form();
    let seconds = max_age.as_secs();
    let text =
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{more}");
    HeaderValue::try_from(text).expect("a number and URL-safe base64")
}

/// Takes the cookie away, whatever its name.
pub(super) fn take_away() -> [HeaderValue; 2] {
    [Transport::Tls, Transport::Plain].map(|transport| set("", Duration::ZERO, transport))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 32] = [7; 32];
    const NOW: i64 = 1_000;

    fn sealed(ends_at: i64) -> String {
        let session = PageSession {
            token: TokenHash::of("wahook_x"),
            id: Uuid::from_u128(1),
            ends_at: Timestamp::from_millis(ends_at),
        };
        session.seal(&KEY, ClientId::try_from(42).expect("a client"))
    }

    fn opened(key: &[u8; 32], cookies: &str) -> Option<PageSession> {
        let mut headers = HeaderMap::new();
        let cookies = HeaderValue::try_from(cookies).ok()?;
        headers.insert(header::COOKIE, cookies);
        session(key, &headers, Timestamp::from_millis(NOW))
    }

    #[test]
    fn a_session_opens_with_its_key_until_it_ends() {
        let value = sealed(NOW + 1);
        let ok = |text: String| opened(&KEY, &text).is_some();
        assert!(ok(format!("a=b; {PLAIN_NAME}={value}")));
        assert!(ok(format!("{SECURE_NAME}={value}; {PLAIN_NAME}=x")));
        assert!(opened(&[8; 32], &format!("{PLAIN_NAME}={value}")).is_none());
        assert!(!ok(format!("{PLAIN_NAME}={}", sealed(NOW))), "it has ended");
        let other_client = value.replacen("42.", "43.", 1);
        assert!(!ok(format!("{PLAIN_NAME}={other_client}")));
        assert!(!value.contains("wahook_"), "{value}");
    }

    proptest! {
        #[test]
        fn any_cookie_is_refused_without_panic(text in ".{0,120}") {
            let cookie = format!("{PLAIN_NAME}={text}");
            prop_assert!(opened(&KEY, &cookie).is_none());
        }

        #[test]
        fn no_changed_letter_opens(at in 0_usize..60, to in "[A-Za-z0-9_-]") {
            let mut value = sealed(NOW + 1);
            let at = at + 3;
            prop_assume!(value[at..=at] != to);
            value.replace_range(at..=at, &to);
            let cookie = format!("{PLAIN_NAME}={value}");
            prop_assert!(opened(&KEY, &cookie).is_none());
        }
    }
}
