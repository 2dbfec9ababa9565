//! Notices that a client gets about its own webhooks and sessions.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{ParseError, Timestamp};

/// The kind of a notice.
///
/// # Examples
///
/// ```
/// use wahook::model::NoticeKind;
///
/// assert_eq!("dead_letters".parse(), Ok(NoticeKind::DeadLetters));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NoticeKind {
    /// wahook disabled a webhook.
    #[serde(rename = "endpoint.disabled")]
    EndpointDisabled,
    /// A webhook that wahook had disabled is enabled again.
    #[serde(rename = "endpoint.enabled")]
    EndpointEnabled,
    /// The state of a WhatsApp session changed.
    #[serde(rename = "session.state")]
    SessionState,
    /// The dead letters of one hour reached the threshold.
    #[serde(rename = "dead_letters")]
    DeadLetters,
}

impl NoticeKind {
    /// Every kind.
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
        let found = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        found.ok_or(ParseError(
            "an event is endpoint.disabled, endpoint.enabled, session.state or dead_letters",
        ))
    }
}

/// Which notices a client's operational webhook gets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeSettings {
    /// The requested kinds, sorted, each once.
    pub events: Vec<NoticeKind>,
    /// So many dead letters within an hour cause a notice.
    pub dead_letter_threshold: u32,
    /// When it last got a notice of dead letters: there is one an hour at most.
    #[serde(rename = "dead_letters_told_at")]
    pub dead_letters_notified_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notice_kind_has_the_same_text_in_json_and_in_the_api() {
        for kind in NoticeKind::ALL {
            assert_eq!(serde_json::to_value(kind).expect("plain"), kind.as_str());
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
    }
}
