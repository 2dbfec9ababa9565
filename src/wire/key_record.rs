//! The records of a session's log of keys: MessagePack, sealed, after a version and the id of the
//! key that they are sealed with.
//!
//! A record is sealed for its subject, so that none can be put into another session's log. Its
//! number is within, so that none can be put into its own log twice.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::secret_box::{Keyring, SealError};
use crate::model::KeyChange;

const VERSION: u8 = 1;

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyRecordError {
    /// A newer version of wahook wrote it.
    #[error("a record of version {0}, which this version of wahook does not know")]
    Version(u8),
    /// It does not open.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// It is not a record.
    #[error("a damaged record")]
    Damaged,
}

/// One record of a session's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// The epoch of the lease under which it was written.
    pub epoch: u64,
    /// Its number: one more than that of the record before it.
    pub number: u64,
    /// What it says.
    pub entry: KeyEntry,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyEntry {
    /// A node has taken the session over.
    Owner,
    /// Rows have changed.
    Changes(Vec<KeyChange>),
    /// All rows there are. Nothing before it counts.
    Snapshot(Vec<KeyChange>),
    /// The same, in so many parts, each under a subject of its own that names this record.
    SnapshotInParts(u16),
    /// One of these parts. Its number is that of the record that names it.
    Part(Vec<KeyChange>),
    /// The session has no keys any more.
    Erased,
}

/// A record as the log of this subject stores it.
pub fn encode_key_record(record: &KeyRecord, subject: &str, keys: &Keyring) -> Vec<u8> {
    let plain = encode_key_value(record);
    let (id, sealed) = keys.seal_bytes(subject, &plain);
    let id_bytes = u8::try_from(id.len()).expect("ids of keys have 32 characters at most");
    [&[VERSION, id_bytes], id.as_bytes(), &sealed].concat()
}

/// A record of the log of this subject, and the id of the key that it was sealed with.
///
/// # Errors
/// When another version wrote it, or it does not open.
pub fn decode_key_record<'a>(
    stored: &'a [u8],
    subject: &str,
    keys: &Keyring,
) -> Result<(KeyRecord, &'a str), KeyRecordError> {
    let damaged = KeyRecordError::Damaged;
    match stored.first() {
        Some(&VERSION) => {}
        Some(&version) => return Err(KeyRecordError::Version(version)),
        None => return Err(damaged),
    }
    let id_bytes = usize::from(*stored.get(1).ok_or(damaged.clone())?);
    let (id, sealed) = stored[2..]
        .split_at_checked(id_bytes)
        .ok_or(damaged.clone())?;
    let id = std::str::from_utf8(id).map_err(|_| damaged)?;
    let plain = keys.open_bytes(subject, id, sealed)?;
    let record = decode_key_value(&plain).ok_or(KeyRecordError::Damaged)?;
    Ok((record, id))
}

/// A row's value: what serde can write, as MessagePack with named fields.
pub fn encode_key_value<T: Serialize>(value: &T) -> Vec<u8> {
    rmp_serde::to_vec_named(value).expect("plain data can be written")
}

/// What [`encode_key_value`] wrote.
pub fn decode_key_value<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    rmp_serde::from_slice(bytes).ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const SUBJECT: &str = "wa.keys.1";

    fn keys(id: &str) -> Keyring {
        Keyring::parse(&Keyring::new_line(id).expect("an id")).expect("a key")
    }

    fn record() -> KeyRecord {
        KeyRecord {
            epoch: 3,
            number: 7,
            entry: KeyEntry::Changes(vec![KeyChange {
                table: 1,
                key: Bytes::from_static(b"a"),
                value: Some(Bytes::from(vec![0xff; 300])),
            }]),
        }
    }

    #[test]
    fn record_opens_with_its_key_at_its_subject_alone() {
        let keys_2026 = keys("2026");
        let stored = encode_key_record(&record(), SUBJECT, &keys_2026);
        assert!(stored.len() < 450, "bytes are not a list of numbers");
        assert_eq!(
            decode_key_record(&stored, SUBJECT, &keys_2026),
            Ok((record(), "2026"))
        );
        let elsewhere = decode_key_record(&stored, "wa.keys.2", &keys_2026);
        let damaged = SealError::Damaged("2026".to_owned());
        assert_eq!(elsewhere, Err(damaged.into()));
        let missing = SealError::MissingKey("2026".to_owned());
        assert_eq!(
            decode_key_record(&stored, SUBJECT, &keys("2027")),
            Err(missing.into())
        );
    }

    #[test]
    fn record_of_another_version_or_with_a_changed_byte_is_refused() {
        let keys = keys("k");
        let stored = encode_key_record(&record(), SUBJECT, &keys);
        let mut newer = stored.clone();
        newer[0] = 2;
        assert_eq!(
            decode_key_record(&newer, SUBJECT, &keys),
            Err(KeyRecordError::Version(2))
        );
        for at in 1..stored.len() {
            let mut changed = stored.clone();
            changed[at] ^= 1;
            assert!(decode_key_record(&changed, SUBJECT, &keys).is_err(), "{at}");
            assert!(decode_key_record(&stored[..at], SUBJECT, &keys).is_err());
        }
        assert!(decode_key_record(&[], SUBJECT, &keys).is_err());
    }
}
