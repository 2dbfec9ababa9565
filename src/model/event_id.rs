//! The id of an event, and the form in which the API shows it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::{Kind, MessageId, ParseError, Timestamp, WebhookId};

/// The id of one message for one webhook. Ids sort by the time of the first publish; see
/// [`EventId::derive`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EventId(pub Uuid);

impl EventId {
    /// A UUIDv8 of the stream's timestamp (48 bits of milliseconds) and 74 bits of a hash over what
    /// identifies the message. So every redelivery of one published message has the same id.
    ///
    /// # Examples
    ///
    /// ```
    /// use wahook::model::{EventId, Kind, MessageId, Timestamp, WebhookId};
    ///
    /// let published: Timestamp = "2026-11-24T08:30:00Z".parse()?;
    /// let webhook: WebhookId = "0193f3a0-0000-7000-8000-000000000001".parse()?;
    /// let message: MessageId = "3EB0C767D097B7C7".parse()?;
    /// let id = EventId::derive(published, webhook, "chat", "sender", &message, &Kind::Text);
    /// assert_eq!(id.timestamp(), published);
    /// # Ok::<(), wahook::model::ParseError>(())
    /// ```
    pub fn derive(
        published: Timestamp,
        webhook: WebhookId,
        chat: &str,
        sender: &str,
        id: &MessageId,
        kind: &Kind,
    ) -> Self {
        let mut hash = Sha256::new();
        hash.update(webhook.0.as_bytes());
        for part in [chat, sender, id.as_str(), kind.as_str()] {
            // The length comes first, so that no two lists of parts give the same bytes.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        let digest = hash.finalize();
        let mut bytes = [0_u8; 16];
        bytes[..6].copy_from_slice(&published.millis().to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&digest[..10]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The lowest id of a message that was published at this time; all earlier messages have lower
    /// ids.
    pub fn first_at(time: Timestamp) -> Self {
        let millis = u64::try_from(time.millis()).unwrap_or_default();
        Self(Uuid::from_u128(u128::from(millis) << 80))
    }

    /// When the message was first published; the id holds this time.
    pub fn timestamp(self) -> Timestamp {
        let mut bytes = [0_u8; 8];
        bytes[2..].copy_from_slice(&self.0.as_bytes()[..6]);
        Timestamp::from_millis(i64::from_be_bytes(bytes))
    }
}

/// The id of an event in the API: `evt_` and 44 base62 digits of webhook id and event id. With the
/// webhook's id in it, the store finds the event's partition without a lookup table.
///
/// # Examples
///
/// ```
/// use wahook::model::PublicEventId;
///
/// let text = format!("evt_{}", "0".repeat(44));
/// let id: PublicEventId = text.parse()?;
/// assert_eq!(id.to_string(), text);
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicEventId {
    /// The webhook the event belongs to.
    pub webhook: WebhookId,
    /// The event.
    pub event: EventId,
}

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// The digits of one UUID: 62^22 > 2^128.
const DIGITS: usize = 22;

fn base62(mut value: u128) -> [u8; DIGITS] {
    let mut digits = [b'0'; DIGITS];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[(value % 62) as usize];
        value /= 62;
    }
    digits
}

fn from_base62(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0_u128, |sum, byte| {
        let digit = BASE62.iter().position(|b| b == byte)? as u128;
        sum.checked_mul(62)?.checked_add(digit)
    })
}

impl fmt::Display for PublicEventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("evt_")?;
        for id in [self.webhook.0, self.event.0] {
            for byte in base62(id.as_u128()) {
                fmt::Write::write_char(f, byte as char)?;
            }
        }
        Ok(())
    }
}

impl FromStr for PublicEventId {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        const INVALID: ParseError =
            ParseError("an event id is evt_ followed by 44 letters and digits");
        let digits = text.strip_prefix("evt_").ok_or(INVALID)?.as_bytes();
        if digits.len() != 2 * DIGITS {
            return Err(INVALID);
        }
        let (webhook, event) = digits.split_at(DIGITS);
        Ok(Self {
            webhook: WebhookId(Uuid::from_u128(from_base62(webhook).ok_or(INVALID)?)),
            event: EventId(Uuid::from_u128(from_base62(event).ok_or(INVALID)?)),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn public_id_survives_its_text(webhook: u128, event: u128) {
            let id = PublicEventId {
                webhook: WebhookId(Uuid::from_u128(webhook)),
                event: EventId(Uuid::from_u128(event)),
            };
            prop_assert_eq!(id.to_string().parse::<PublicEventId>(), Ok(id));
        }

        #[test]
        fn any_text_is_parsed_without_panic(text in ".{0,60}") {
            drop(text.parse::<PublicEventId>());
        }

        #[test]
        fn event_id_keeps_the_time_and_differs_by_chat(
            ms in 0_i64..(1 << 47),
            chat in "[a-z]{1,5}",
            sender in "[a-z]{1,5}",
        ) {
            let webhook = WebhookId(Uuid::from_u128(7));
            let message: MessageId = "M1".parse().expect("valid");
            let at = Timestamp::from_millis(ms);
            let id = EventId::derive(at, webhook, &chat, &sender, &message, &Kind::Text);
            prop_assert_eq!(id.timestamp(), at);
            let next = Timestamp::from_millis(ms + 1);
            prop_assert!(EventId::first_at(at) <= id && id < EventId::first_at(next));
            prop_assert_eq!(id.0.get_version_num(), 8);
            let longer = format!("{chat}x");
            let other = EventId::derive(at, webhook, &longer, &sender, &message, &Kind::Text);
            prop_assert_ne!(id, other);
        }
    }
}
