//! How a webhook's deliveries are sent: in which format, signed how, with which headers of their
//! own.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{ParseError, Secret, SigningKey};

/// The shape of a body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// wahook's own.
    #[default]
    Native,
    /// As WAHA sends it.
    Waha,
    /// As Evolution API sends it.
    Evolution,
    /// As Meta's WhatsApp Cloud API sends it.
    Cloud,
}

impl Format {
    /// Every format there is.
    pub const ALL: [Self; 4] = [Self::Native, Self::Waha, Self::Evolution, Self::Cloud];

    /// The text that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Waha => "waha",
            Self::Evolution => "evolution",
            Self::Cloud => "cloud",
        }
    }
}

impl FromStr for Format {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|format| format.as_str() == text);
        found.ok_or(ParseError("is native, waha, evolution or cloud"))
    }
}

/// What signs a delivery.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureScheme {
    /// The signing secret: `v1`.
    #[default]
    Hmac,
    /// A key of whose two halves the receiver only has the public one: `v1a`.
    Ed25519,
    /// One after the other in one header.
    Both,
}

impl SignatureScheme {
    const ALL: [Self; 3] = [Self::Hmac, Self::Ed25519, Self::Both];

    /// The text that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hmac => "hmac",
            Self::Ed25519 => "ed25519",
            Self::Both => "both",
        }
    }

    /// Whether the signing secret signs.
    pub fn has_hmac(self) -> bool {
        self != Self::Ed25519
    }

    /// Whether the signing key signs.
    pub fn has_ed25519(self) -> bool {
        self != Self::Hmac
    }
}

impl FromStr for SignatureScheme {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|scheme| scheme.as_str() == text);
        found.ok_or(ParseError("is hmac, ed25519 or both"))
    }
}

/// How deliveries are sent. What was stored before this existed reads as its default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeliveryOptions {
    /// Of bodies that are built from now on.
    pub format: Format,
    /// What signs.
    pub signature: SignatureScheme,
    /// The current key first, then older ones that still sign. Empty until a key is first asked
    /// for.
    pub keys: Vec<SigningKey>,
    /// Sent along, by lower-case name. The values may be credentials.
    pub headers: BTreeMap<String, Secret>,
}
