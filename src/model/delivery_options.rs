//! How a webhook's deliveries are sent: format, signature, further headers.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{FormatOptions, ParseError, Secret, SigningKey};

/// The format of a webhook body.
///
/// # Examples
///
/// ```
/// use wahook::model::Format;
///
/// assert_eq!("waha".parse(), Ok(Format::Waha));
/// assert_eq!(Format::default().as_str(), "native");
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// wahook's own format.
    #[default]
    Native,
    /// The format of WAHA.
    Waha,
    /// The format of Evolution API.
    Evolution,
    /// The format of Meta's WhatsApp Cloud API.
    Cloud,
}

impl Format {
    /// Every format.
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

/// Which keys sign a delivery.
///
/// # Examples
///
/// ```
/// use wahook::model::SignatureScheme;
///
/// let scheme: SignatureScheme = "both".parse()?;
/// assert!(scheme.has_hmac() && scheme.has_ed25519());
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignatureScheme {
    /// The shared signing secret (`v1`).
    #[default]
    Hmac,
    /// A key pair of which the receiver has only the public key (`v1a`).
    Ed25519,
    /// Both, in one header.
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

/// How deliveries are sent. Webhooks that were stored without these options get the defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeliveryOptions {
    /// The format of bodies that are built from now on.
    pub format: Format,
    /// Names in such bodies.
    pub format_options: FormatOptions,
    /// Which keys sign.
    pub signature: SignatureScheme,
    /// The current key first, then older ones that still sign. Empty until the first key is
    /// requested.
    pub keys: Vec<SigningKey>,
    /// Further headers by lower-case name. The values may be credentials.
    pub headers: BTreeMap<String, Secret>,
}
