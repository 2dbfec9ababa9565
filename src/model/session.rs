//! WhatsApp sessions. A session is one linked device of one account.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ClientId, Phone, SessionId, Timestamp};

/// How the phone's owner links a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairingMethod {
    /// A QR code to scan.
    Qr,
    /// Eight characters to type on the phone.
    Code,
}

/// A session as its client wants it. The node that runs it reads this and never writes it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// Made when the client creates the session.
    pub id: SessionId,
    /// The client that owns it.
    pub client_id: ClientId,
    /// The number it must be linked to; with `None`, any phone may link it.
    pub phone: Option<Phone>,
    /// How to link it.
    pub method: PairingMethod,
    /// Whether messages that the account itself sends are published, too.
    pub own_messages: bool,
    /// How often its client restarted it.
    pub generation: u32,
    /// Whether its client deleted it: it logs out, its keys are erased, and it is removed.
    pub is_deleted: bool,
    /// When the client created it.
    pub created_at: Timestamp,
}

/// The state of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "docs/whatsapp.md explains each state")]
pub enum SessionState {
    Pairing,
    Connected,
    Reconnecting,
    Silent,
    Refused,
    Replaced,
    LoggedOut,
    Banned,
    Outdated,
    KeysOutdated,
}

impl SessionState {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Pairing,
        Self::Connected,
        Self::Reconnecting,
        Self::Silent,
        Self::Refused,
        Self::Replaced,
        Self::LoggedOut,
        Self::Banned,
        Self::Outdated,
        Self::KeysOutdated,
    ];

    /// The text that the API and metrics use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pairing => "pairing",
            Self::Connected => "connected",
            Self::Reconnecting => "reconnecting",
            Self::Silent => "silent",
            Self::Refused => "refused",
            Self::Replaced => "replaced",
            Self::LoggedOut => "logged_out",
            Self::Banned => "banned",
            Self::Outdated => "outdated",
            Self::KeysOutdated => "keys_outdated",
        }
    }

    /// Whether only its owner can restart it.
    pub fn is_final(self) -> bool {
        matches!(
            self,
            Self::Replaced | Self::LoggedOut | Self::Banned | Self::Outdated | Self::KeysOutdated
        )
    }
}

impl fmt::Display for SessionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A code that links the session to a phone while it is valid. Anybody who has it can link the
/// session, so it is a secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pairing {
    /// The kind of `code`.
    pub method: PairingMethod,
    /// The content of the QR code, or the characters to type.
    pub code: String,
    /// When it becomes invalid.
    pub expires_at: Timestamp,
}

/// The current status of a session. Only the node that runs it writes this.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionStatus {
    /// Its state.
    pub state: SessionState,
    /// Why it has this state; its owner sees this text.
    pub reason: Option<String>,
    /// The number it is linked to.
    pub phone: Option<Phone>,
    /// The code that links it, when there is one.
    pub pairing: Option<Pairing>,
    /// When the newest message was published.
    pub last_message_at: Option<Timestamp>,
    /// The number of the last record that the log of its keys is known to have, if they are in
    /// JetStream. Keys that end before it are not used.
    #[serde(default)]
    pub keys_number: Option<u64>,
    /// The generation of the session that this status belongs to.
    pub generation: u32,
    /// When this status last changed.
    pub updated_at: Timestamp,
}

impl SessionStatus {
    /// The status before any node runs the session.
    pub fn new(generation: u32, now: Timestamp) -> Self {
        Self {
            state: SessionState::Pairing,
            reason: None,
            phone: None,
            pairing: None,
            last_message_at: None,
            keys_number: None,
            generation,
            updated_at: now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn session_state_has_the_same_text_in_json_and_in_the_api() {
        for state in SessionState::ALL {
            assert_eq!(serde_json::to_value(state).expect("plain"), state.as_str());
        }
    }
}
