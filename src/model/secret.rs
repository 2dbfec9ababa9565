//! Secrets, which must not be printed.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{ParseError, Timestamp};

/// A text that no log, error or dump may show. Its `Debug` prints `***`.
///
/// # Examples
///
/// ```
/// use wahook::model::Secret;
///
/// let secret = Secret::new("password".to_owned());
/// assert_eq!(format!("{secret:?}"), "***");
/// assert_eq!(secret.expose(), "password");
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text. Call this only where the secret is used.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A symmetric secret as in Standard Webhooks: `whsec_` and base64 of 24 to 64 bytes.
///
/// # Examples
///
/// ```
/// use wahook::model::SigningSecret;
///
/// let secret = SigningSecret::from_key(&[1; 24]);
/// assert_eq!(SigningSecret::parse(secret.expose())?, secret);
/// assert_eq!(secret.hint(), "whsec_…AQEB");
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningSecret {
    text: Secret,
    /// When it stops signing beside the newer one; `None` for the current secret.
    pub expires_at: Option<Timestamp>,
}

impl SigningSecret {
    /// From key bytes.
    ///
    /// # Panics
    /// When `key` does not have 24 to 64 bytes.
    pub fn from_key(key: &[u8]) -> Self {
        assert!(
            (24..=64).contains(&key.len()),
            "a signing key has 24 to 64 bytes"
        );
        Self {
            text: Secret::new(format!("whsec_{}", BASE64_STANDARD.encode(key))),
            expires_at: None,
        }
    }

    /// From its text.
    ///
    /// # Errors
    /// When it is not `whsec_` and base64 of 24 to 64 bytes.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        const INVALID: ParseError =
            ParseError("a signing secret is whsec_ followed by base64 of 24 to 64 bytes");
        let key = BASE64_STANDARD
            .decode(text.strip_prefix("whsec_").ok_or(INVALID)?)
            .map_err(|_| INVALID)?;
        if (24..=64).contains(&key.len()) {
            Ok(Self::from_key(&key))
        } else {
            Err(INVALID)
        }
    }

    /// The text `whsec_…`. Customers see it once, when it is made.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// The key bytes.
    pub fn key(&self) -> Vec<u8> {
        let encoded = self.expose().strip_prefix("whsec_").unwrap_or_default();
        BASE64_STANDARD.decode(encoded).unwrap_or_default()
    }

    /// `whsec_…` and the last four characters, to tell secrets apart.
    pub fn hint(&self) -> String {
        let text = self.expose();
        format!(
            "whsec_…{}",
            text.get(text.len().saturating_sub(4)..).unwrap_or_default()
        )
    }
}

/// An ed25519 key pair as in Standard Webhooks: `whsk_` and base64 of 32 bytes of seed and 32 bytes
/// of public key.
///
/// # Examples
///
/// ```
/// use wahook::model::SigningKey;
///
/// let key = SigningKey::from_parts(&[1; 32], &[2; 32]);
/// assert_eq!(key.parts(), Some(([1; 32], [2; 32])));
/// assert!(key.public().starts_with("whpk_"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    text: Secret,
    /// When it stops signing beside the newer one; `None` for the current key.
    pub expires_at: Option<Timestamp>,
}

impl SigningKey {
    /// From a seed and the public key that belongs to it.
    pub fn from_parts(seed: &[u8; 32], public: &[u8; 32]) -> Self {
        let both = [&seed[..], &public[..]].concat();
        Self {
            text: Secret::new(format!("whsk_{}", BASE64_STANDARD.encode(both))),
            expires_at: None,
        }
    }

    /// The text `whsk_…`. It never leaves wahook.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// Seed and public key; `None` when the text is damaged.
    pub fn parts(&self) -> Option<([u8; 32], [u8; 32])> {
        let both = BASE64_STANDARD
            .decode(self.expose().strip_prefix("whsk_")?)
            .ok()?;
        let (seed, public) = both.split_at_checked(32)?;
        Some((seed.try_into().ok()?, public.try_into().ok()?))
    }

    /// The text `whpk_…`, which receivers verify with. It is not secret.
    pub fn public(&self) -> String {
        let public = self.parts().map(|(_, public)| public).unwrap_or_default();
        format!("whpk_{}", BASE64_STANDARD.encode(public))
    }
}
