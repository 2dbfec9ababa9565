//! Tokens of the admin API and what they may do.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ClientId, ParseError, Timestamp, hex};

/// A permission of a token.
///
/// # Examples
///
/// ```
/// use wahook::model::Scope;
///
/// assert_eq!("webhooks:read".parse(), Ok(Scope::WebhooksRead));
/// assert_eq!(Scope::MessagesSend.to_string(), "messages:send");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// Read webhooks.
    #[serde(rename = "webhooks:read")]
    WebhooksRead,
    /// Register, change and delete webhooks.
    #[serde(rename = "webhooks:write")]
    WebhooksWrite,
    /// Read events, their attempts and dead letters.
    #[serde(rename = "events:read")]
    EventsRead,
    /// Retry events.
    #[serde(rename = "events:write")]
    EventsWrite,
    /// Publish messages from another gateway.
    #[serde(rename = "messages:write")]
    MessagesWrite,
    /// Send messages through WhatsApp sessions.
    #[serde(rename = "messages:send")]
    MessagesSend,
    /// Read WhatsApp sessions.
    #[serde(rename = "sessions:read")]
    SessionsRead,
    /// Link, restart and delete WhatsApp sessions, and read the codes that link them.
    #[serde(rename = "sessions:write")]
    SessionsWrite,
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 8] = [
        Self::WebhooksRead,
        Self::WebhooksWrite,
        Self::EventsRead,
        Self::EventsWrite,
        Self::MessagesWrite,
        Self::MessagesSend,
        Self::SessionsRead,
        Self::SessionsWrite,
    ];

    /// The text that tokens and documents use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::WebhooksRead => "webhooks:read",
            Self::WebhooksWrite => "webhooks:write",
            Self::EventsRead => "events:read",
            Self::EventsWrite => "events:write",
            Self::MessagesWrite => "messages:write",
            Self::MessagesSend => "messages:send",
            Self::SessionsRead => "sessions:read",
            Self::SessionsWrite => "sessions:write",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Scope {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or(ParseError(
            "a scope is webhooks:read, webhooks:write, events:read, events:write, messages:write, \
             messages:send, sessions:read or sessions:write",
        ))
    }
}

/// The SHA-256 of a token's text in lower-case hex. Only this is stored. Tokens are random, so a
/// slow hash is not needed.
///
/// # Examples
///
/// ```
/// use wahook::model::TokenHash;
///
/// assert_eq!(TokenHash::of("whk_example").as_str().len(), 64);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(String);

impl TokenHash {
    /// The hash of a token as the caller sent it.
    pub fn of(token: &str) -> Self {
        Self(hex(&Sha256::digest(token)))
    }

    /// 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A bearer token as the bus stores it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// The id to revoke it by: the token's first characters after its prefix.
    pub id: String,
    /// The only client that it has access to.
    pub client_id: ClientId,
    /// Its permissions.
    pub scopes: Vec<Scope>,
    /// A name that its owner chose.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it expires, if ever.
    pub expires_at: Option<Timestamp>,
}
