//! The bucket for what all nodes share, and the keys in it.

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;

use super::Error;
use crate::wire::{Keyring, SealError};

pub(super) const SETTINGS: &str = "wa_settings";
pub(super) const CURSOR_KEY: &str = "cursor_key";
pub(super) const MEDIA_KEY: &str = "media_key";
/// The keys that all nodes share.
pub(super) const SHARED: [&str; 2] = [CURSOR_KEY, MEDIA_KEY];

/// A shared key as it is stored.
pub(super) fn seal_shared(keys: &Keyring, name: &str, key: &[u8; 32]) -> Bytes {
    keys.seal(name, &BASE64_STANDARD.encode(key)).into()
}

/// A shared key from what is stored: 32 bytes in clear, as long as nothing was sealed, or sealed
/// text.
pub(super) fn open_shared(keys: &Keyring, name: &str, stored: &[u8]) -> Result<[u8; 32], Error> {
    if let Ok(key) = stored.try_into() {
        return Ok(key);
    }
    let opened = keys
        .open(name, &String::from_utf8_lossy(stored))
        .map_err(|source| does_not_open(name, source))?;
    let key = BASE64_STANDARD
        .decode(opened)
        .ok()
        .and_then(|key| key.try_into().ok());
    key.ok_or_else(|| Error::Damaged(name.to_owned()))
}

/// A secret whose key this node does not have.
pub(super) fn does_not_open(what: &str, source: SealError) -> Error {
    Error::Sealed {
        of: what.to_owned(),
        source,
    }
}
