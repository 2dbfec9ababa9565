//! WhatsApp sessions: one linked device of one account.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ClientId, Phone, SessionId, Timestamp};

/// How a session asks the phone's owner to link it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingMethod {
    /// A QR code to scan.
    Qr,
    /// Eight characters to type in on the phone.
    Code,
}

/// A session as its client wants it. Its node reads this and never writes it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Made when it was asked for.
    pub id: SessionId,
    /// Whose it is.
    pub client_id: ClientId,
    /// The number it must be linked to; `None` takes whichever phone scans the code.
    pub phone: Option<Phone>,
    /// How to link it.
    pub method: PairingMethod,
    /// Whether messages that the account itself sends are published too.
    pub own_messages: bool,
    /// Counts the times that it was asked to begin anew.
    pub generation: u32,
    /// Asked to log out, to erase its keys and to disappear.
    pub is_deleted: bool,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// What a session does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(
    missing_docs,
    reason = "docs/whatsapp.md tells what each means and what to do"
)]
pub enum SessionState {
    Pairing,
    Connected,
    Reconnecting,
    Refused,
    Replaced,
    LoggedOut,
    Banned,
    Outdated,
}

impl SessionState {
    /// Every state there is.
    pub const ALL: [Self; 8] = [
        Self::Pairing,
        Self::Connected,
        Self::Reconnecting,
        Self::Refused,
        Self::Replaced,
        Self::LoggedOut,
        Self::Banned,
        Self::Outdated,
    ];

    /// The text that the API and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pairing => "pairing",
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Refused => "refused",
            Self::Replaced => "replaced",
            Self::LoggedOut => "logged_out",
            Self::Banned => "banned",
            Self::Outdated => "outdated",
        }
    }

    /// Whether only its owner can bring it back.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Replaced | Self::LoggedOut | Self::Banned | Self::Outdated
        )
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What links the session to a phone, as long as it is valid. Whoever has it can link it: treat it
/// as a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairing {
    /// What `code` is.
    pub method: PairingMethod,
    /// Content of the QR code, or the characters to type in.
    pub code: String,
    /// When it stops being valid.
    pub expires_at: Timestamp,
}

/// How a session fares. Its node writes this and nobody else.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// What it does.
    pub state: SessionState,
    /// Why, in words for its owner.
    pub reason: Option<String>,
    /// The number it is linked to.
    pub phone: Option<Phone>,
    /// What would link it now.
    pub pairing: Option<Pairing>,
    /// When the newest message was published.
    pub last_message_at: Option<Timestamp>,
    /// The generation that this is about.
    pub generation: u32,
    /// When any of this changed.
    pub updated_at: Timestamp,
}

impl SessionStatus {
    /// Before any node took it.
    pub fn new(generation: u32, now: Timestamp) -> Self {
        Self {
            state: SessionState::Pairing,
            reason: None,
            phone: None,
            pairing: None,
            last_message_at: None,
            generation,
            updated_at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_written_as_they_are_named() {
        for state in SessionState::ALL {
            assert_eq!(serde_json::to_value(state).expect("plain"), state.as_str());
        }
    }
}
