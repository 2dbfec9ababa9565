//! HMAC-SHA256, which proves that bytes come from wahook and are unchanged.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// The HMAC-SHA256 of `data`.
///
/// # Examples
///
/// ```
/// use wahook::wire::{mac, verify_mac};
///
/// let full = mac(b"key", b"data");
/// assert!(verify_mac(b"key", b"data", &full[..16]));
/// assert!(!verify_mac(b"key", b"other", &full));
/// ```
pub fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// Whether `expected` is the MAC of `data`, or its first 16 or more bytes. Compares in constant
/// time.
pub fn verify_mac(key: &[u8], data: &[u8], expected: &[u8]) -> bool {
    let full = mac(key, data);
    let length = expected.len();
    (16..=full.len()).contains(&length) && bool::from(full[..length].ct_eq(expected))
}
