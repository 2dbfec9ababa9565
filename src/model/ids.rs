//! Ids. Each can only be made from valid text.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::EventId;

/// Why a text cannot be parsed. It says what is allowed and never repeats the text.
///
/// # Examples
///
/// ```
/// use wahook::model::Phone;
///
/// let error = "+49 151".parse::<Phone>().expect_err("a plus and a space");
/// assert!(error.to_string().contains("5 to 15 digits"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(pub &'static str);

/// The owner of webhooks, sessions and tokens: an integer from 1 to 2^53−1, which every JSON reader
/// keeps exact.
///
/// # Examples
///
/// ```
/// use wahook::model::ClientId;
///
/// let client: ClientId = "7".parse()?;
/// assert_eq!(client, ClientId::try_from(7)?);
/// assert!("07".parse::<ClientId>().is_err());
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct ClientId(u64);

impl ClientId {
    /// The number itself.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl TryFrom<u64> for ClientId {
    type Error = ParseError;
    fn try_from(value: u64) -> Result<Self, ParseError> {
        if (1..=(1 << 53) - 1).contains(&value) {
            Ok(Self(value))
        } else {
            Err(ParseError(
                "a client id is an integer from 1 to 9007199254740991",
            ))
        }
    }
}

impl From<ClientId> for u64 {
    fn from(id: ClientId) -> u64 {
        id.0
    }
}

impl FromStr for ClientId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        // `parse` would accept a leading `+` or zeros, and one client would have two spellings in
        // subjects.
        let value = text.parse::<u64>().ok().filter(|v| v.to_string() == text);
        Self::try_from(value.unwrap_or(0))
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A phone number in international form without `+`: `^[1-9][0-9]{4,14}$` (E.164). Its `Debug`
/// hides all but two digits.
///
/// # Examples
///
/// ```
/// use wahook::model::Phone;
///
/// let phone: Phone = "4915112345678".parse()?;
/// assert_eq!(phone.as_str(), "4915112345678");
/// assert_eq!(format!("{phone:?}"), "Phone(…78)");
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Phone(Box<str>);

impl Phone {
    /// The digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The placeholder that a client's operational webhook is registered for. Nobody can have this
    /// number: numbers of country code 1 have eleven digits, and no 0 after the 1.
    pub fn operational() -> Self {
        Self("10000".into())
    }

    /// Whether it is the placeholder of an operational webhook.
    pub fn is_operational(&self) -> bool {
        *self == Self::operational()
    }
}

impl FromStr for Phone {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        if digits && (5..=15).contains(&text.len()) && !text.starts_with('0') {
            Ok(Self(text.into()))
        } else {
            Err(ParseError(
                "a phone number has 5 to 15 digits in international form, without +, spaces or a \
                 leading 0",
            ))
        }
    }
}

impl TryFrom<String> for Phone {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<Phone> for String {
    fn from(phone: Phone) -> String {
        phone.0.into()
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Phone(…{})", &self.0[self.0.len() - 2..])
    }
}

/// A message's id as its source gave it: 1 to 128 printable ASCII characters without spaces.
///
/// # Examples
///
/// ```
/// use wahook::model::MessageId;
///
/// assert!("3EB0C767D097B7C7".parse::<MessageId>().is_ok());
/// assert!("two words".parse::<MessageId>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MessageId(Box<str>);

impl MessageId {
    /// The text as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for MessageId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        if (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(ParseError(
                "a message id has 1 to 128 printable ASCII characters and no spaces",
            ))
        }
    }
}

impl TryFrom<String> for MessageId {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        text.parse()
    }
}

impl From<MessageId> for String {
    fn from(id: MessageId) -> String {
        id.0.into()
    }
}

/// The id of a webhook: a UUIDv7 made at registration.
///
/// # Examples
///
/// ```
/// use wahook::model::WebhookId;
///
/// let id: WebhookId = "0193f3a0-0000-7000-8000-000000000001".parse()?;
/// assert_eq!(id.to_string(), "0193f3a0-0000-7000-8000-000000000001");
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WebhookId(pub Uuid);

/// The id of a WhatsApp session: a UUIDv7 made when its client creates it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SessionId(pub Uuid);

/// The id of a job that sends deliveries again. The release of a webhook's held deliveries has the
/// id of the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

macro_rules! uuid_text {
    ($($id:ident: $hint:literal),*) => {$(
        impl fmt::Display for $id {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
        impl FromStr for $id {
            type Err = ParseError;
            fn from_str(text: &str) -> Result<Self, ParseError> {
                Uuid::try_parse(text).map(Self).map_err(|_| ParseError($hint))
            }
        }
    )*};
}
uuid_text!(
    WebhookId: "a webhook id is a UUID",
    SessionId: "a session id is a UUID",
    JobId: "a job id is a UUID",
    EventId: "an event id is a UUID"
);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn client_id_with_a_second_spelling_is_refused() {
        for bad in ["0", "-1", "+1", "01", "1.0", "", " 1", "9007199254740992"] {
            assert!(bad.parse::<ClientId>().is_err(), "{bad:?}");
        }
        assert_eq!(
            "9007199254740991".parse::<ClientId>().map(ClientId::get),
            Ok((1 << 53) - 1)
        );
    }

    #[test]
    fn phone_has_digits_only_and_is_hidden_in_debug() {
        for bad in [
            "",
            "1234",
            "0123456",
            "+4915123",
            "49 151",
            "1234567890123456",
            "１２３４５６",
        ] {
            assert!(bad.parse::<Phone>().is_err(), "{bad:?}");
        }
        let phone: Phone = "4915112345678".parse().expect("valid");
        assert_eq!(format!("{phone:?}"), "Phone(…78)");
    }

    proptest! {
        #[test]
        fn any_text_is_parsed_without_panic(text in ".{0,60}") {
            drop(text.parse::<Phone>());
            drop(text.parse::<MessageId>());
        }
    }
}
