//! Who may call the admin API, and for what.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{ClientId, ParseError, Timestamp};

/// One thing that a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Scope {
    /// See webhooks.
    #[serde(rename = "webhooks:read")]
    WebhooksRead,
    /// Register, change and delete webhooks.
    #[serde(rename = "webhooks:write")]
    WebhooksWrite,
    /// See events, their attempts and dead letters.
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
    /// See WhatsApp sessions.
    #[serde(rename = "sessions:read")]
    SessionsRead,
    /// Link, restart and delete WhatsApp sessions, and see what links them.
    #[serde(rename = "sessions:write")]
    SessionsWrite,
}

impl Scope {
    /// Every scope there is.
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
        Self::ALL.into_iter().find(|scope| scope.as_str() == text).ok_or(ParseError(
            "a scope is webhooks:read, webhooks:write, events:read, events:write, messages:write, \
             messages:send, \
                 sessions:read or sessions:write",
        ))
    }
}

/// SHA-256 of a token's text, in lower-case hex: all that is stored of it. Tokens are random, so no
/// slow hash is needed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TokenHash(String);

impl TokenHash {
    /// Hash of a token as the caller sent it.
    pub fn of(token: &str) -> Self {
        Self(
            Sha256::digest(token)
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect(),
        )
    }

    /// 64 hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A bearer token as the bus keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Short name to revoke it by; the token's first characters after its prefix.
    pub id: String,
    /// The only client it can see.
    pub client_id: ClientId,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// What it is for, in its owner's words.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when it is refused, if ever.
    pub expires_at: Option<Timestamp>,
}
