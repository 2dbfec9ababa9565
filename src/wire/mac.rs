//! HMAC-SHA256, for whoever must know its own bytes again.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// HMAC-SHA256 of `data`.
pub fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// Whether `expected` is the MAC of `data`, told in constant time. A shortened MAC of at least 16
/// bytes will do.
pub fn verify_mac(key: &[u8], data: &[u8], expected: &[u8]) -> bool {
    let full = mac(key, data);
    let length = expected.len();
    (16..=full.len()).contains(&length) && bool::from(full[..length].ct_eq(expected))
}
