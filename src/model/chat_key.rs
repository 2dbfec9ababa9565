//! The name of a chat whose messages go one after the other.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::ParseError;

/// Names one chat of one webhook, without showing its number. It can be one token of a subject: 1
/// to 64 ASCII letters and digits.
///
/// # Examples
///
/// ```
/// use wahook::model::ChatKey;
///
/// let key = ChatKey::try_from("c0ffee".to_owned())?;
/// assert_eq!(key.as_str(), "c0ffee");
/// assert!(ChatKey::try_from("two.tokens".to_owned()).is_err());
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChatKey(Box<str>);

impl ChatKey {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ChatKey {
    type Error = ParseError;
    fn try_from(text: String) -> Result<Self, ParseError> {
        let is_valid =
            (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if is_valid {
            Ok(Self(text.into()))
        } else {
            Err(ParseError("a chat key is 1 to 64 ASCII letters and digits"))
        }
    }
}

impl From<ChatKey> for String {
    fn from(key: ChatKey) -> Self {
        key.0.into()
    }
}

impl fmt::Display for ChatKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
