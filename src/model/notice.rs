//! What a client can be told about its own webhooks and sessions.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ParseError, Timestamp};

/// Something that happened to what a client has here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NoticeKind {
    /// wahook stopped a webhook.
    #[serde(rename = "endpoint.disabled")]
    EndpointDisabled,
    /// A webhook that wahook had stopped takes deliveries again.
    #[serde(rename = "endpoint.enabled")]
    EndpointEnabled,
    /// A WhatsApp session has another state.
    #[serde(rename = "session.state")]
    SessionState,
    /// Within an hour more deliveries were given up than the threshold allows.
    #[serde(rename = "dead_letters")]
    DeadLetters,
}

impl NoticeKind {
    /// Every one there is.
    pub const ALL: [Self; 4] = [
        Self::EndpointDisabled,
        Self::EndpointEnabled,
        Self::SessionState,
        Self::DeadLetters,
    ];

    /// The text that the API and bodies use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::EndpointDisabled => "endpoint.disabled",
            Self::EndpointEnabled => "endpoint.enabled",
            Self::SessionState => "session.state",
            Self::DeadLetters => "dead_letters",
        }
    }
}

impl FromStr for NoticeKind {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL
            .into_iter()
            .find(|operation| operation.as_str() == text);
        found.ok_or(ParseError(
            "an event is endpoint.disabled, endpoint.enabled, session.state or dead_letters",
        ))
    }
}

/// What a client's operational webhook gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeSettings {
    /// What it asks for, in order, without repetition.
    pub events: Vec<NoticeKind>,
    /// Dead letters within an hour from which on it is told.
    pub dead_letter_threshold: u32,
    /// When it was last told of dead letters: once an hour is enough.
    #[serde(rename = "dead_letters_told_at")]
    pub dead_letters_notified_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_written_as_they_are_named() {
        for operation in NoticeKind::ALL {
            assert_eq!(
                serde_json::to_value(operation).expect("plain"),
                operation.as_str()
            );
            assert_eq!(operation.as_str().parse(), Ok(operation));
        }
    }
}
