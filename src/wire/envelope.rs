//! What travels inside the streams: MessagePack behind a version byte.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::model::{Attempt, Delivery, Message, Timestamp};

const VERSION: u8 = 1;
/// Levels of nested lists and maps. JSON that the API reads has at most 128; deeper ones could
/// overflow the stack, here or where they are written as JSON.
const DEPTH_MAX: usize = 256;

/// Why bytes are no envelope.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing there.
    #[error("empty envelope")]
    Empty,
    /// Written by a newer wahook.
    #[error("envelope version {0} is unknown to this version of wahook")]
    Version(u8),
    /// Not what it should be.
    #[error("damaged envelope")]
    Damaged(#[source] rmp_serde::decode::Error),
}

/// A delivery that was given up, with why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// What was to be delivered.
    pub delivery: Delivery,
    /// Why it was given up, in words.
    pub reason: String,
    /// The last answer's status, when there was one.
    pub http_status: Option<u16>,
    /// When it was given up.
    pub at: Timestamp,
}

/// About what something takes beside its body: enough for most not to grow.
const BYTES: usize = 512;

fn encode<T: Serialize + ?Sized>(value: &T, bytes: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(bytes);
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

/// Bytes of a message, as WA_MSG holds it.
pub fn encode_message(message: &Message) -> Vec<u8> {
    encode(message, BYTES + message.content.len())
}

/// A message from its bytes.
///
/// # Errors
/// When the bytes are no message.
pub fn decode_message(bytes: &[u8]) -> Result<Message, Error> {
    decode(bytes)
}

/// Bytes of a delivery, as WA_RETRY and WA_HOLD hold it.
pub fn encode_delivery(delivery: &Delivery) -> Vec<u8> {
    encode(delivery, BYTES + delivery.body.len())
}

/// A delivery from its bytes.
///
/// # Errors
/// When the bytes are no delivery.
pub fn decode_delivery(bytes: &[u8]) -> Result<Delivery, Error> {
    decode(bytes)
}

/// Bytes of a group of attempts, as WA_RESULT holds it.
pub fn encode_attempts(attempts: &[Attempt]) -> Vec<u8> {
    let bodies: usize = attempts
        .iter()
        .map(|attempt| attempt.delivery.body.len())
        .sum();
    encode(attempts, BYTES * attempts.len() + bodies)
}

/// A group of attempts from its bytes.
///
/// # Errors
/// When the bytes are no group of attempts.
pub fn decode_attempts(bytes: &[u8]) -> Result<Vec<Attempt>, Error> {
    decode(bytes)
}

/// Bytes of a dead letter, as WA_DLQ holds it.
pub fn encode_dead_letter(letter: &DeadLetter) -> Vec<u8> {
    encode(letter, BYTES + letter.delivery.body.len())
}

/// A dead letter from its bytes.
///
/// # Errors
/// When the bytes are no dead letter.
pub fn decode_dead_letter(bytes: &[u8]) -> Result<DeadLetter, Error> {
    decode(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;
    use crate::model::{ClientId, EventId, EventStatus, Kind, Outcome, Priority, WebhookId};

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
            chat: "c".repeat(usize::from(attempts % 3)),
        }
    }

    proptest! {
        #[test]
        fn messages_come_back(content in ".*", push_name in ".*", client in 1_u64..1 << 53) {
            let message = message(content, push_name, client);
            prop_assert_eq!(decode_message(&encode_message(&message)).expect("its own bytes"), message);
        }

        #[test]
        fn deliveries_attempts_and_dead_letters_come_back(body: Vec<u8>, attempts: u16, text in ".*", status: Option<u16>) {
            let delivery = delivery(body, attempts);
            prop_assert_eq!(&decode_delivery(&encode_delivery(&delivery)).expect("its own bytes"), &delivery);
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
            prop_assert_eq!(decode_attempts(&encode_attempts(&group)).expect("its own bytes"), group);
            let letter = DeadLetter { delivery, reason: text, http_status: status, at: Timestamp::from_millis(1) };
            prop_assert_eq!(decode_dead_letter(&encode_dead_letter(&letter)).expect("its own \
                bytes"), letter);
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(mut bytes: Vec<u8>) {
            for first in [None, Some(VERSION)] {
                bytes.splice(..0, first);
                let _ = (decode_message(&bytes).is_ok(), decode_delivery(&bytes).is_ok());
                let _ = (decode_attempts(&bytes).is_ok(), decode_dead_letter(&bytes).is_ok());
            }
        }
    }

    #[test]
    fn what_was_written_before_there_were_priorities_is_still_read() {
        // `encode_delivery` of a wahook that knew none: the same map without the field.
        let mut old = delivery(b"{}".to_vec(), 2);
        let bytes = encode_delivery(&old);
        assert!(
            !String::from_utf8_lossy(&bytes).contains("priority"),
            "a normal one is written as before"
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
    fn a_newer_version_is_named() {
        assert!(matches!(decode_message(&[9, 1]), Err(Error::Version(9))));
        assert!(matches!(decode_message(&[]), Err(Error::Empty)));
    }
}
