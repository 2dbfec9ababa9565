//! Ids of people, groups and channels, as webhooks show them.

use std::{fmt, str::FromStr};

use super::{ParseError, Phone};

/// Digits of a LID; real ones have 14 or 15.
const LID_DIGITS_MAX: usize = 20;

/// Where a message can come from or go to.
///
/// # Examples
///
/// ```
/// use wahook::model::WhatsAppId;
///
/// let id: WhatsAppId = "4915112345678@c.us".parse()?;
/// assert_eq!(id.to_string(), "4915112345678");
/// assert!("90003@lid".parse::<WhatsAppId>()?.is_person());
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub enum WhatsAppId {
    /// A person by the number.
    Phone(Phone),
    /// A person whose number WhatsApp hides: `…@lid`.
    Lid(Box<str>),
    /// A group: `…@g.us`.
    Group(Box<str>),
    /// A broadcast list, or the statuses: `…@broadcast`.
    Broadcast(Box<str>),
    /// A channel: `…@newsletter`.
    Channel(Box<str>),
}

impl WhatsAppId {
    /// Whether it is one person.
    pub fn is_person(&self) -> bool {
        matches!(self, Self::Phone(_) | Self::Lid(_))
    }

    /// The id as WhatsApp writes it, with its domain.
    pub fn address(&self) -> String {
        match self {
            Self::Phone(phone) => format!("{}@s.whatsapp.net", phone.as_str()),
            _ => self.to_string(),
        }
    }
}

impl FromStr for WhatsAppId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || {
            ParseError(
                "is a phone number of digits alone, or an id as webhooks show it: …@lid or …@g.us",
            )
        };
        let is_digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let Some((user, domain)) = text.split_once('@') else {
            return text.parse().map(Self::Phone).map_err(|_| wrong());
        };
        let is_group = (5..=40).contains(&user.len())
            && user
                .bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-');
        let is_list =
            (1..=40).contains(&user.len()) && user.bytes().all(|byte| byte.is_ascii_alphanumeric());
        match domain {
            // The first is WhatsApp's own, the second that of `waha` bodies.
            "s.whatsapp.net" | "c.us" => user.parse().map(Self::Phone).map_err(|_| wrong()),
            "lid" if is_digits(user) && user.len() <= LID_DIGITS_MAX => Ok(Self::Lid(text.into())),
            "g.us" if is_group => Ok(Self::Group(text.into())),
            "broadcast" if is_list => Ok(Self::Broadcast(text.into())),
            "newsletter" if is_list => Ok(Self::Channel(text.into())),
            _ => Err(wrong()),
        }
    }
}

/// The id as `native` bodies show it.
impl fmt::Display for WhatsAppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Phone(phone) => phone.as_str(),
            Self::Lid(id) | Self::Group(id) | Self::Broadcast(id) | Self::Channel(id) => id,
        })
    }
}

/// Hides numbers.
impl fmt::Debug for WhatsAppId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Phone(_) => "Phone(…)",
            Self::Lid(_) => "Lid(…)",
            Self::Group(_) => "Group(…)",
            Self::Broadcast(_) => "Broadcast(…)",
            Self::Channel(_) => "Channel(…)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_every_format_are_read_and_keep_what_they_name() {
        let same = [
            "4915112345678",
            "90003@lid",
            "120363000000000001@g.us",
            "4915112345678-1700000000@g.us",
            "1700000000@broadcast",
            "status@broadcast",
            "120363000000000009@newsletter",
        ];
        for text in same {
            let id: WhatsAppId = text.parse().expect(text);
            assert_eq!(id.to_string(), text);
        }
        for text in ["4915112345678@c.us", "4915112345678@s.whatsapp.net"] {
            let id: WhatsAppId = text.parse().expect(text);
            assert_eq!(
                (id.to_string().as_str(), id.address().as_str()),
                ("4915112345678", "4915112345678@s.whatsapp.net")
            );
        }
    }

    #[test]
    fn what_no_webhook_shows_is_refused() {
        let wrong = [
            "",
            "@lid",
            "x@lid",
            "1:2@lid",
            "123456789012345678901@lid",
            "+4915112345678",
            "0151@c.us",
            "4915112345678:3@s.whatsapp.net",
            "a@g.us",
            "1@g.us",
            "12345@lid@g.us",
            "12345@example.com",
            "12345 @g.us",
            "１２３４５@lid",
        ];
        for text in wrong {
            assert!(text.parse::<WhatsAppId>().is_err(), "{text}");
        }
    }
}
