//! Opaque ids: encrypted values that clients get as an id and return. Nobody else can read, change
//! or forge them.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Serialize, de::DeserializeOwned};

use crate::model::ClientId;

fn key(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("32 bytes are what it takes"))
}

fn bound_to(client: ClientId) -> Aad<[u8; 8]> {
    Aad::from(client.get().to_be_bytes())
}

/// Encrypts a value for one client with ChaCha20-Poly1305 (RFC 8439). The id is URL-safe base64 of
/// nonce, ciphertext and tag. The nonce is the first 12 bytes of a keyed hash of the value, so the
/// same value always has the same id.
///
/// # Examples
///
/// ```
/// use wahook::{model::ClientId, wire::{decode_opaque_id, encode_opaque_id}};
///
/// let secret = [7; 32];
/// let client = ClientId::try_from(1)?;
/// let id = encode_opaque_id(&secret, client, &"path");
/// assert_eq!(decode_opaque_id(&secret, client, &id), Some("path".to_owned()));
/// let other = ClientId::try_from(2)?;
/// assert_eq!(decode_opaque_id::<String>(&secret, other, &id), None);
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
pub fn encode_opaque_id(secret: &[u8; 32], client: ClientId, value: &impl Serialize) -> String {
    let mut sealed = rmp_serde::to_vec(value).expect("plain values can be written");
    let mut hash =
        ring::hmac::Context::with_key(&ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret));
    hash.update(&client.get().to_be_bytes());
    hash.update(&sealed);
    let nonce: [u8; NONCE_LEN] = hash.sign().as_ref()[..NONCE_LEN]
        .try_into()
        .expect("a hash is longer");
    key(secret)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            bound_to(client),
            &mut sealed,
        )
        .expect("far below the cipher's limit");
    URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
}

/// The value, if the id was made with this secret for this client and is unchanged.
pub fn decode_opaque_id<T: DeserializeOwned>(
    secret: &[u8; 32],
    client: ClientId,
    text: &str,
) -> Option<T> {
    let mut bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
    let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let plain = key(secret)
        .open_in_place(nonce, bound_to(client), sealed)
        .ok()?;
    rmp_serde::from_slice(plain).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opaque_id_is_decoded_only_with_its_client_and_secret() {
        let one = ClientId::try_from(1).expect("valid");
        let two = ClientId::try_from(2).expect("valid");
        let sealed = encode_opaque_id(&[7; 32], one, &("path", 5_u8));
        assert_eq!(sealed, encode_opaque_id(&[7; 32], one, &("path", 5_u8)));
        assert!(!sealed.contains("path"));
        assert_eq!(
            decode_opaque_id(&[7; 32], one, &sealed),
            Some(("path".to_owned(), 5_u8))
        );
        assert_eq!(
            decode_opaque_id::<(String, u8)>(&[7; 32], two, &sealed),
            None
        );
        assert_eq!(
            decode_opaque_id::<(String, u8)>(&[8; 32], one, &sealed),
            None
        );
        let mut changed = sealed.into_bytes();
        let last = changed.len() - 1;
        changed[last] = if changed[last] == b'A' { b'E' } else { b'A' };
        assert_eq!(
            decode_opaque_id::<(String, u8)>(
                &[7; 32],
                one,
                &String::from_utf8(changed).expect("ascii")
            ),
            None
        );
        assert_eq!(
            decode_opaque_id::<(String, u8)>(&[7; 32], one, "AAAA"),
            None
        );
    }
}
