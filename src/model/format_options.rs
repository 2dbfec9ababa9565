//! What bodies in the format of another gateway call things.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::ParseError;

/// Longest value of one of these options, in characters.
const VALUE_CHARS_MAX: usize = 256;

/// One of the names by which receivers of a format route.
///
/// # Examples
///
/// ```
/// use wahook::model::FormatOption;
///
/// assert_eq!("session".parse(), Ok(FormatOption::Session));
/// assert_eq!(FormatOption::Session.check("default"), Ok(()));
/// assert!(FormatOption::Session.check("").is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FormatOption {
    /// `cloud`: `metadata.phone_number_id`. The phone number by default.
    PhoneNumberId,
    /// `cloud`: `entry[].id`, the id of the WhatsApp Business account. The client's id by default.
    BusinessAccountId,
    /// `waha`: the name of the session. The phone number by default.
    Session,
    /// `waha`: `message.any` makes incoming messages events of that name, too.
    MessageEvent,
    /// `evolution`: the name of the instance. The phone number by default.
    Instance,
    /// `evolution`: where flows call back. Empty by default.
    ServerUrl,
}

impl FormatOption {
    /// Every option.
    pub const ALL: [Self; 6] = [
        Self::PhoneNumberId,
        Self::BusinessAccountId,
        Self::Session,
        Self::MessageEvent,
        Self::Instance,
        Self::ServerUrl,
    ];

    /// The text that the API uses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PhoneNumberId => "phone_number_id",
            Self::BusinessAccountId => "business_account_id",
            Self::Session => "session",
            Self::MessageEvent => "message_event",
            Self::Instance => "instance",
            Self::ServerUrl => "server_url",
        }
    }

    /// Checks a value.
    ///
    /// # Errors
    /// When it has none, too many or unprintable characters, or is none of two words.
    pub fn check(self, value: &str) -> Result<(), ParseError> {
        if self == Self::MessageEvent {
            return match value {
                "message" | "message.any" => Ok(()),
                _ => Err(ParseError("is message or message.any")),
            };
        }
        let is_printable = !value.chars().any(char::is_control);
        let has_length = (1..=VALUE_CHARS_MAX).contains(&value.chars().count());
        if is_printable && has_length {
            Ok(())
        } else {
            Err(ParseError("has 1 to 256 printable characters"))
        }
    }
}

impl std::str::FromStr for FormatOption {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let found = Self::ALL.into_iter().find(|option| option.as_str() == text);
        found.ok_or(ParseError(
            "is none of phone_number_id, business_account_id, session, message_event, instance \
             and server_url",
        ))
    }
}

/// The options that a webhook has, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FormatOptions(pub BTreeMap<String, String>);

impl FormatOptions {
    /// The value of an option that is set.
    pub fn get(&self, option: FormatOption) -> Option<&str> {
        self.0.get(option.as_str()).map(String::as_str)
    }
}
