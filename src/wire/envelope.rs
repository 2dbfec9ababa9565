//! The payloads of the streams: MessagePack after a version byte.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::model::{Attempt, Delivery, Message, Timestamp};

const VERSION: u8 = 1;
/// Levels of nested lists and maps. JSON that the API reads has at most 128; deeper ones could
/// overflow the stack, here or where they are written as JSON.
const DEPTH_MAX: usize = 256;

/// Why bytes cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are no bytes.
    #[error("empty envelope")]
    Empty,
    /// A newer version of wahook wrote them.
    #[error("envelope version {0} is unknown to this version of wahook")]
    Version(u8),
    /// They are not an envelope of this type.
    #[error("damaged envelope")]
    Damaged(#[source] rmp_serde::decode::Error),
}

/// A delivery that failed finally, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// The delivery.
    pub delivery: Delivery,
    /// Why it failed.
    pub reason: String,
    /// The HTTP status of the last attempt, when there was a response.
    pub http_status: Option<u16>,
    /// When it became a dead letter.
    pub at: Timestamp,
}

impl DeadLetter {
    /// What becomes of a delivery after this attempt, the last one. Its error is the reason.
    pub fn of(attempt: &Attempt) -> Self {
        let reason = attempt
            .error
            .clone()
            .unwrap_or_else(|| attempt.outcome.as_str().to_owned());
        Self {
            delivery: attempt.delivery.after_attempt(),
            reason,
            http_status: attempt.http_status,
            at: attempt.ended_at(),
        }
    }
}

/// The usual size of an envelope without its body, so that most buffers do not grow.
const CAPACITY_BYTES: usize = 512;

fn encode<T: Serialize + ?Sized>(value: &T, capacity_bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(capacity_bytes);
    bytes.push(VERSION);
    rmp_serde::encode::write_named(&mut bytes, value)
        .expect("a vector takes every value of these types");
    bytes
}

fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        None => Err(Error::Empty),
        Some((&VERSION, rest)) => {
            let mut reader = rmp_serde::Deserializer::from_read_ref(rest);
            reader.set_max_depth(DEPTH_MAX);
            T::deserialize(&mut reader).map_err(Error::Damaged)
        }
        Some((&version, _)) => Err(Error::Version(version)),
    }
}

/// Encodes a message for the stream WA_MSG.
///
/// # Examples
///
/// ```
/// use wahook::{
///     model::{ClientId, Kind, Message, Timestamp},
///     wire::{decode_message, encode_message},
/// };
///
/// let message = Message {
///     client_id: ClientId::try_from(1)?,
///     phone: "4915112345678".parse()?,
///     message_id: "3EB0C767D097B7C7".parse()?,
///     chat: "4922200000".to_owned(),
///     from: "4922200000".to_owned(),
///     to: "4915112345678".to_owned(),
///     timestamp: Timestamp::EPOCH,
///     kind: Kind::Text,
///     content: "hi".to_owned(),
///     metadata: Default::default(),
///     metadata_json: None,
/// };
/// let bytes = encode_message(&message);
/// assert_eq!(decode_message(&bytes)?, message);
/// assert!(decode_message(b"").is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn encode_message(message: &Message) -> Vec<u8> {
    encode(message, CAPACITY_BYTES + message.content.len())
}

/// Decodes a message.
///
/// # Errors
/// When the bytes are not a message.
pub fn decode_message(bytes: &[u8]) -> Result<Message, Error> {
    decode(bytes)
}

/// Encodes a delivery for the streams WA_RETRY and WA_HOLD.
pub fn encode_delivery(delivery: &Delivery) -> Vec<u8> {
    encode(delivery, CAPACITY_BYTES + delivery.body.len())
}

/// Decodes a delivery.
///
/// # Errors
/// When the bytes are not a delivery.
pub fn decode_delivery(bytes: &[u8]) -> Result<Delivery, Error> {
    decode(bytes)
}

/// Encodes a group of attempts for the stream WA_RESULT.
pub fn encode_attempts(attempts: &[Attempt]) -> Vec<u8> {
    let bodies: usize = attempts
        .iter()
        .map(|attempt| attempt.delivery.body.len())
        .sum();
    encode(attempts, CAPACITY_BYTES * attempts.len() + bodies)
}

/// Decodes a group of attempts.
///
/// # Errors
/// When the bytes are not a group of attempts.
pub fn decode_attempts(bytes: &[u8]) -> Result<Vec<Attempt>, Error> {
    decode(bytes)
}

/// Encodes a dead letter for the stream WA_DLQ.
pub fn encode_dead_letter(letter: &DeadLetter) -> Vec<u8> {
    encode(letter, CAPACITY_BYTES + letter.delivery.body.len())
}

/// Decodes a dead letter.
///
/// # Errors
/// When the bytes are not a dead letter.
pub fn decode_dead_letter(bytes: &[u8]) -> Result<DeadLetter, Error> {
    decode(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::model::{
        ChatKey, ClientId, EventId, EventStatus, Kind, Outcome, Priority, WebhookId,
    };

    fn message(content: String, push_name: String, client: u64) -> Message {
        Message {
            client_id: ClientId::try_from(client).expect("in range"),
            phone: "4915112345678".parse().expect("valid"),
            message_id: "M1".parse().expect("valid"),
            chat: "4915100000001".to_owned(),
            from: "4915100000001".to_owned(),
            to: "4915112345678".to_owned(),
            timestamp: Timestamp::from_millis(1_700_000_000_000),
            kind: Kind::Text,
            content,
            metadata_json: None,
            metadata: [("push_name".to_owned(), push_name.into())]
                .into_iter()
                .collect(),
        }
    }

    fn delivery(body: Vec<u8>, attempts: u16) -> Delivery {
        Delivery {
            event_id: EventId(Uuid::from_u128(1)),
            webhook_id: WebhookId(Uuid::from_u128(2)),
            client_id: ClientId::try_from(3).expect("in range"),
            phone: "4915112345678".parse().expect("valid"),
            message_id: "M1".parse().expect("valid"),
            kind: Kind::ButtonReply,
            created_at: Timestamp::from_millis(5),
            body: Bytes::from(body),
            attempt_count: attempts,
            attempts_this_round: 0,
            priority: if attempts.is_multiple_of(2) {
                Priority::Normal
            } else {
                Priority::Low
            },
            chat_key: ChatKey::try_from("c".repeat(usize::from(attempts % 3))).ok(),
        }
    }

    proptest! {
        #[test]
        fn message_survives_encoding(content in ".*", push_name in ".*", client in 1_u64..1 << 53) {
            let message = message(content, push_name, client);
            let decoded = decode_message(&encode_message(&message));
            prop_assert_eq!(decoded.expect("its own bytes"), message);
        }

        #[test]
        fn delivery_attempts_and_dead_letter_survive_encoding(
            body: Vec<u8>,
            attempts: u16,
            text in ".*",
            status: Option<u16>,
        ) {
            let delivery = delivery(body, attempts);
            let decoded = decode_delivery(&encode_delivery(&delivery));
            prop_assert_eq!(&decoded.expect("its own bytes"), &delivery);
            let attempt = Attempt {
                delivery: delivery.clone(),
                number: attempts,
                outcome: Outcome::Http5xx,
                status: EventStatus::Pending,
                http_status: status,
                response: Some(text.clone()),
                error: None,
                started_at: Timestamp::from_millis(9),
                latency_ms: 4,
                next_retry_at: Some(Timestamp::from_millis(10)),
            };
            let group = vec![attempt; 3];
            let decoded = decode_attempts(&encode_attempts(&group));
            prop_assert_eq!(decoded.expect("its own bytes"), group);
            let letter = DeadLetter {
                delivery,
                reason: text,
                http_status: status,
                at: Timestamp::from_millis(1),
            };
            let decoded = decode_dead_letter(&encode_dead_letter(&letter));
            prop_assert_eq!(decoded.expect("its own bytes"), letter);
        }
    }

    #[test]
    fn delivery_without_a_priority_is_decoded_as_normal() {
        // Versions before priorities wrote the same map without the field.
        let mut old = delivery(b"{}".to_vec(), 2);
        let bytes = encode_delivery(&old);
        assert!(
            !String::from_utf8_lossy(&bytes).contains("priority"),
            "not written when it is normal"
        );
        assert_eq!(decode_delivery(&bytes).expect("readable"), old);
        old.priority = Priority::Low;
        assert_eq!(
            decode_delivery(&encode_delivery(&old))
                .expect("readable")
                .priority,
            Priority::Low
        );
    }

    /// The envelope of `delivery(b"{}", 1)` as versions before chat keys wrote it, with these bytes
    /// for its chat.
    fn old_envelope(fields: u8, chat: &[u8]) -> Vec<u8> {
        let id = |last| [&[0xc4, 16][..], &[0; 15], &[last]].concat();
        let text = |text: &str| {
            let length = u8::try_from(text.len()).expect("a short text");
            [&[0xa0 | length], text.as_bytes()].concat()
        };
        [
            vec![VERSION, 0x80 | fields],
            [text("event_id"), id(1), text("webhook_id"), id(2)].concat(),
            [text("client_id"), vec![3], text("phone")].concat(),
            [text("4915112345678"), text("message_id"), text("M1")].concat(),
            [text("kind"), text("button_reply")].concat(),
            [text("created_at"), vec![5]].concat(),
            [text("body"), b"\xc4\x02{}".to_vec()].concat(),
            [text("attempts"), vec![1], text("tries"), vec![0]].concat(),
            [text("priority"), text("low")].concat(),
            chat.to_vec(),
        ]
        .concat()
    }

    #[test]
    fn chat_key_has_the_bytes_of_older_versions() {
        let key = |text: &str| Some(ChatKey::try_from(text.to_owned()).expect("valid"));
        let table = [
            (old_envelope(11, b""), None),
            (old_envelope(12, b"\xa4chat\xa6c0ffee"), key("c0ffee")),
        ];
        for (bytes, chat_key) in table {
            let expected = Delivery {
                chat_key,
                ..delivery(b"{}".to_vec(), 1)
            };
            assert_eq!(decode_delivery(&bytes).expect("readable"), expected);
            assert_eq!(encode_delivery(&expected), bytes, "older versions read it");
        }
        // Never written, but harmless.
        for no_chat in [b"\xa4chat\xa0", b"\xa4chat\xc0"] {
            let decoded = decode_delivery(&old_envelope(12, no_chat)).expect("readable");
            assert_eq!(decoded.chat_key, None);
        }
        // It would be more than one token of a subject.
        let damaged = old_envelope(12, b"\xa4chat\xa3a.b");
        assert!(matches!(decode_delivery(&damaged), Err(Error::Damaged(_))));
    }

    #[test]
    fn message_nested_too_deeply_is_damaged() {
        let mut message = message(String::new(), String::new(), 1);
        for (levels, is_readable) in [(DEPTH_MAX - 3, true), (DEPTH_MAX, false)] {
            let nested = (0..levels).fold(serde_json::Value::Null, |inner, _| vec![inner].into());
            message.metadata.insert("nested".to_owned(), nested);
            let decoded = decode_message(&encode_message(&message));
            assert_eq!(decoded.is_ok(), is_readable, "{levels} levels");
        }
    }

    #[test]
    fn envelope_of_a_newer_version_is_refused_with_its_number() {
        assert!(matches!(decode_message(&[9, 1]), Err(Error::Version(9))));
        assert!(matches!(decode_message(&[]), Err(Error::Empty)));
    }
}
