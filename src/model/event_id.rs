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

/// Tells ids of messages from those of earlier versions, of which one in 256 looks the same. The
/// version of the UUID cannot tell it: CQL servers sort by it first.
const MARK: u8 = 0xa5;
const MARK_AT: usize = 7;

impl EventId {
    /// A UUIDv8 of a time (48 bits of milliseconds) and 74 bits of a hash over these parts: for
    /// events that come from no stream.
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

    /// A UUIDv8 of the stream's timestamp and 66 bits of a hash over the webhook and the id that
    /// the message was published under. So every redelivery of one published message has the same
    /// id, and a second publish of the message has one with another time and the same
    /// [`header`](Self::header).
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use wahook::model::{EventId, Timestamp, WebhookId};
    ///
    /// let published: Timestamp = "2026-11-24T08:30:00Z".parse()?;
    /// let webhook: WebhookId = "0193f3a0-0000-7000-8000-000000000001".parse()?;
    /// let first = EventId::of_message(published, webhook, "id");
    /// let second = EventId::of_message(published.after(Duration::from_secs(9)), webhook, "id");
    /// assert_ne!(first, second);
    /// assert_eq!(first.header(), second.header());
    /// # Ok::<(), wahook::model::ParseError>(())
    /// ```
    pub fn of_message(published: Timestamp, webhook: WebhookId, dedupe_id: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(webhook.0.as_bytes());
        hash.update(dedupe_id);
        let digest = hash.finalize();
        let mut bytes = [0_u8; 16];
        bytes[..6].copy_from_slice(&published.millis().to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&digest[..10]);
        bytes[MARK_AT] = MARK;
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// What receivers tell copies of a message by: the header `webhook-id`. Where the id is of a
    /// message, this depends on the message and the webhook alone; otherwise it is the id itself,
    /// as earlier versions of wahook had it for all.
    pub fn header(self) -> Uuid {
        let mut bytes = *self.0.as_bytes();
        if bytes[MARK_AT] != MARK {
            return self.0;
        }
        // A hash of the same 66 bits takes the place of the time.
        let digest = Sha256::digest(&bytes[6..]);
        bytes[..6].copy_from_slice(&digest[..6]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
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
        fn header_depends_on_message_and_webhook_alone(
            first_ms in 0_i64..(1 << 47),
            second_ms in 0_i64..(1 << 47),
            webhook: u128,
            id in "[0-9a-f]{1,32}",
        ) {
            let of = |ms, webhook, id: &str| {
                EventId::of_message(Timestamp::from_millis(ms), WebhookId(webhook), id)
            };
            let webhook = Uuid::from_u128(webhook);
            let event = of(first_ms, webhook, &id);
            prop_assert_eq!(event.timestamp().millis(), first_ms);
            prop_assert_eq!(event.0.get_version_num(), 8);
            prop_assert!(EventId::first_at(event.timestamp()) <= event);
            prop_assert_eq!(event.header(), of(second_ms, webhook, &id).header());
            prop_assert_eq!(event.header().get_version_num(), 8);
            let longer = format!("{id}0");
            prop_assert_ne!(event.header(), of(first_ms, webhook, &longer).header());
            let other = Uuid::from_u128(webhook.as_u128() ^ 1);
            prop_assert_ne!(event.header(), of(first_ms, other, &id).header());
        }

        #[test]
        fn header_of_an_earlier_version_is_the_id(ms in 0_i64..(1 << 47), chat in "[a-z]{1,5}") {
            let webhook = WebhookId(Uuid::from_u128(7));
            let message: MessageId = "M1".parse().expect("valid");
            let at = Timestamp::from_millis(ms);
            let id = EventId::derive(at, webhook, &chat, &chat, &message, &Kind::Text);
            let looks_marked = id.0.as_bytes()[MARK_AT] == MARK;
            prop_assert!(looks_marked || id.header() == id.0);
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
