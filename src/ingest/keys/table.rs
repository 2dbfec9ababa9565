//! The tables of the client's keys, and the names of their rows.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Serialize, de::DeserializeOwned};
use whatsapp_rust::store::error::{Result, StoreError};

use crate::{model::KeyChange, wire};

/// A table. Its number is in the log: it is never used for anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Identities = 1,
    Sessions = 2,
    Prekeys = 3,
    SignedPrekeys = 4,
    SenderKeys = 5,
    SyncKeys = 6,
    /// What there is one of.
    Single = 7,
    Versions = 8,
    MutationMacs = 9,
    SenderKeyDevices = 10,
    LidMappings = 11,
    /// From a number to its LID.
    PhoneMappings = 12,
    BaseKeys = 13,
    DeviceLists = 14,
    GroupMetadata = 15,
    TcTokens = 16,
    SentMessages = 17,
    /// What messages can be replayed from.
    Rows = 18,
    MessageSecrets = 19,
}

impl Table {
    pub(super) fn put(self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> KeyChange {
        KeyChange {
            table: self as u8,
            key: key.into(),
            value: Some(value.into()),
        }
    }

    pub(super) fn delete(self, key: impl Into<Bytes>) -> KeyChange {
        KeyChange {
            table: self as u8,
            key: key.into(),
            value: None,
        }
    }
}

/// A text as a row's name.
pub(super) fn name(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

/// A name of several parts. Each begins with its length, so that no two lists of parts make the
/// same name, and all names with the same first parts begin alike.
pub(super) fn names(parts: &[&[u8]]) -> Bytes {
    let mut bytes = BytesMut::new();
    for part in parts {
        bytes.put_u32(u32::try_from(part.len()).unwrap_or(u32::MAX));
        bytes.put_slice(part);
    }
    bytes.freeze()
}

/// The parts of such a name.
pub(super) fn parts(mut name: &[u8]) -> Option<Vec<&[u8]>> {
    let mut parts = Vec::new();
    while !name.is_empty() {
        let (length, rest) = name.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (part, rest) = rest.split_at_checked(length)?;
        parts.push(part);
        name = rest;
    }
    Some(parts)
}

/// A number as a row's name: names sort like the numbers.
pub(super) fn number(id: u32) -> Bytes {
    Bytes::copy_from_slice(&id.to_be_bytes())
}

pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    wire::encode_key_value(value).into()
}

/// # Errors
/// When this version cannot read it.
pub(super) fn decode<T: DeserializeOwned>(table: Table, bytes: &[u8]) -> Result<T> {
    let damaged = || StoreError::Validation(format!("a row of {table:?} cannot be read"));
    wire::decode_key_value(bytes).ok_or_else(damaged)
}

/// A value behind a time in seconds.
pub(super) fn timed(at: i64, value: &[u8]) -> Bytes {
    [&at.to_be_bytes(), value].concat().into()
}

/// The time and the value.
pub(super) fn of_time(bytes: &[u8]) -> (i64, &[u8]) {
    match bytes.split_first_chunk() {
        Some((at, value)) => (i64::from_be_bytes(*at), value),
        None => (0, bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts_are_told_apart_and_come_back() {
        assert_ne!(names(&[b"ab", b"c"]), names(&[b"a", b"bc"]));
        assert!(names(&[b"ab", b"c"]).starts_with(&names(&[b"ab"])));
        let name = names(&[b"ab", b"", b"c\0"]);
        assert_eq!(parts(&name), Some(vec![&b"ab"[..], b"", b"c\0"]));
        assert_eq!(parts(b"abcdef"), None);
        assert_eq!(of_time(&timed(-5, b"x")), (-5, &b"x"[..]));
    }
}
