//! Cursors: places in a list, sealed so that callers cannot make their own. A place is a number of
//! 128 bits, as large as an id.

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

use super::problem::{Code, Problem};
use crate::wire::{mac, verify_mac};

const VERSION: u8 = 1;
const PLACE_BYTES: usize = 1 + 16;
const SEAL_BYTES: usize = 16;

/// The bytes under the seal: the place, and the list with its filters. So a cursor fits no other
/// list.
fn sealed(place: &[u8], list: &str) -> Vec<u8> {
    [place, &Sha256::digest(list)].concat()
}

/// The text of a cursor that goes on after this place in this list.
pub(super) fn encode(key: &[u8; 32], list: &str, after: u128) -> String {
    let mut bytes = vec![VERSION];
    bytes.extend_from_slice(&after.to_be_bytes());
    let seal = mac(key, &sealed(&bytes, list));
    bytes.extend_from_slice(&seal[..SEAL_BYTES]);
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// Where a cursor of this list goes on.
pub(super) fn decode(key: &[u8; 32], list: &str, text: &str) -> Result<u128, Problem> {
    let place = || {
        let bytes = BASE64_URL_SAFE_NO_PAD.decode(text).ok()?;
        let (place, seal) = bytes.split_at_checked(PLACE_BYTES)?;
        let valid = seal.len() == SEAL_BYTES
            && place[0] == VERSION
            && verify_mac(key, &sealed(place, list), seal);
        let after = place[1..].try_into().map(u128::from_be_bytes).ok();
        after.filter(|_| valid)
    };
    place().ok_or_else(|| {
        Problem::new(
            Code::InvalidCursor,
            "take next_cursor from this list, with the same filters",
        )
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; 32] = [7; 32];

    proptest! {
        #[test]
        fn a_cursor_fits_its_list_alone(after: u128, byte in 0_usize..33, flip in 1_u8..) {
            let text = encode(&KEY, "a", after);
            prop_assert_eq!(decode(&KEY, "a", &text).expect("its own"), after);
            prop_assert!(decode(&KEY, "b", &text).is_err());
            prop_assert!(decode(&[8; 32], "a", &text).is_err());
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&text).expect("base64");
            bytes[byte] ^= flip;
            prop_assert!(decode(&KEY, "a", &BASE64_URL_SAFE_NO_PAD.encode(bytes)).is_err());
        }

        #[test]
        fn any_text_is_refused_without_panic(text in ".{0,80}") {
            prop_assert!(decode(&KEY, "a", &text).is_err());
        }
    }
}
