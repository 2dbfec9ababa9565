//! Secrets at rest, sealed with keys that are stored elsewhere.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use chacha20poly1305::{
    Key, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};

const PREFIX: &str = "sealed.v1.";
const NONCE_BYTES: usize = 24;
const KEY_ID_CHARS_MAX: usize = 32;

/// Why a keys file cannot be read. It never repeats a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// The file has only comments.
    #[error(
        "it holds no key: a line is <id>:<base64 of 32 bytes>, as `wahook secrets new-key` prints \
         it"
    )]
    Empty,
    /// This line is not a key.
    #[error(
        "line {0}: it is not <id>:<base64 of 32 bytes>, the id of 1 to 32 letters, digits, - and _"
    )]
    Line(usize),
    /// The key of this line has the id of an earlier one.
    #[error("line {0}: there is a key of this id already")]
    Twice(usize),
}

/// Why a sealed value cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key that it was sealed with is not in the keyring.
    #[error(
        "sealed with the key {0}, which is not in the keys file: put it back, behind the first one"
    )]
    MissingKey(String),
    /// It was changed, copied from another place, or sealed with another key of the same id.
    #[error(
        "its seal does not fit: it was changed, or the key {0} is not the one that it was sealed \
         with"
    )]
    Damaged(String),
}

/// The keys for secrets: the first one seals, each of them opens. Its `Debug` shows only ids.
///
/// # Examples
///
/// ```
/// use wahook::wire::Keyring;
///
/// let old = Keyring::new_line("2025")?;
/// let new = Keyring::new_line("2026")?;
/// let keys = Keyring::parse(&format!("{new}\n{old}\n"))?;
/// let sealed = keys.seal("webhook 1", "whsec_secret");
/// assert_eq!(keys.open("webhook 1", &sealed)?, "whsec_secret");
/// assert!(keys.open("webhook 2", &sealed).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Keyring(Vec<(String, XChaCha20Poly1305)>);

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(id, _)| id))
            .finish()
    }
}

impl Keyring {
    /// Reads a keys file: one key per line, the newest first; `#` starts a comment.
    ///
    /// # Errors
    /// The line that is wrong.
    pub fn parse(text: &str) -> Result<Self, KeyringError> {
        let mut keys: Vec<(String, XChaCha20Poly1305)> = Vec::new();
        let lines = text.lines().map(str::trim).enumerate();
        for (at, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let (id, key) = key_line(line).ok_or(KeyringError::Line(at + 1))?;
            if keys.iter().any(|(known, _)| known == id) {
                return Err(KeyringError::Twice(at + 1));
            }
            keys.push((id.to_owned(), XChaCha20Poly1305::new(&Key::from(key))));
        }
        if keys.is_empty() {
            Err(KeyringError::Empty)
        } else {
            Ok(Self(keys))
        }
    }

    /// A line for a keys file with a new random key.
    ///
    /// # Errors
    /// When `id` is not valid.
    pub fn new_line(id: &str) -> Result<String, KeyringError> {
        let line = format!(
            "{id}:{}",
            BASE64_STANDARD.encode(rand::random::<[u8; 32]>())
        );
        key_line(&line).ok_or(KeyringError::Line(1))?;
        Ok(line)
    }

    /// The id of the key that seals, which is the first one.
    pub fn newest(&self) -> &str {
        &self.0[0].0
    }

    /// Seals a text with the first key. It opens only with the same `place`, because
    /// XChaCha20-Poly1305 authenticates the place, too. The nonce is random: among 192 bits no two
    /// are ever equal.
    pub fn seal(&self, place: &str, text: &str) -> String {
        let (id, sealed) = self.seal_bytes(place, text.as_bytes());
        format!("{PREFIX}{id}.{}", BASE64_URL_SAFE_NO_PAD.encode(sealed))
    }

    /// Seals bytes like [`Keyring::seal`], and gives the key's id beside them.
    pub fn seal_bytes(&self, place: &str, bytes: &[u8]) -> (&str, Vec<u8>) {
        let (id, cipher) = &self.0[0];
        let nonce: [u8; NONCE_BYTES] = rand::random();
        let payload = Payload {
            msg: bytes,
            aad: &covered(place, id),
        };
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("far below the cipher's limit");
        (id, [&nonce[..], &sealed].concat())
    }

    /// Opens a text that was sealed for this place. A text that is not sealed was stored before
    /// there were keys and is returned unchanged.
    ///
    /// # Errors
    /// When its key is missing, or it was changed or copied.
    pub fn open(&self, place: &str, stored: &str) -> Result<String, SealError> {
        let Some((id, rest)) = sealed_parts(stored) else {
            return Ok(stored.to_owned());
        };
        let damaged = || SealError::Damaged(id.to_owned());
        self.cipher(id)?;
        let sealed = BASE64_URL_SAFE_NO_PAD.decode(rest).map_err(|_| damaged())?;
        let opened = self.open_bytes(place, id, &sealed)?;
        String::from_utf8(opened).map_err(|_| damaged())
    }

    /// Opens bytes that were sealed for this place with the key of this id.
    ///
    /// # Errors
    /// When the key is missing, or the bytes were changed or copied.
    pub fn open_bytes(&self, place: &str, id: &str, sealed: &[u8]) -> Result<Vec<u8>, SealError> {
        let cipher = self.cipher(id)?;
        let opened = || {
            let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
            let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).ok()?;
            let payload = Payload {
                msg: sealed,
                aad: &covered(place, id),
            };
            cipher.decrypt(&XNonce::from(nonce), payload).ok()
        };
        opened().ok_or_else(|| SealError::Damaged(id.to_owned()))
    }

    fn cipher(&self, id: &str) -> Result<&XChaCha20Poly1305, SealError> {
        let found = self.0.iter().find(|(known, _)| known == id);
        let found = found.map(|(_, cipher)| cipher);
        found.ok_or_else(|| SealError::MissingKey(id.to_owned()))
    }
}

/// The id of the key that a stored text is sealed with; `None` when it is not sealed.
pub(super) fn key_of(stored: &str) -> Option<&str> {
    sealed_parts(stored).map(|(id, _)| id)
}

fn sealed_parts(stored: &str) -> Option<(&str, &str)> {
    stored.strip_prefix(PREFIX)?.split_once('.')
}

/// What the seal authenticates. Ids have no line break, so no two pairs give the same bytes.
fn covered(place: &str, key_id: &str) -> Vec<u8> {
    format!("wahook secret\n{key_id}\n{place}").into_bytes()
}

fn key_line(line: &str) -> Option<(&str, [u8; 32])> {
    let (id, key) = line.split_once(':')?;
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    let is_id = (1..=KEY_ID_CHARS_MAX).contains(&id.len()) && id.bytes().all(fits);
    let key = BASE64_STANDARD.decode(key.trim()).ok().filter(|_| is_id)?;
    Some((id, key.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::parse_hex;

    fn keys(ids: &[&str]) -> Vec<String> {
        ids.iter()
            .map(|id| Keyring::new_line(id).expect("an id"))
            .collect()
    }

    fn ring(lines: &[&String]) -> Keyring {
        Keyring::parse(
            &lines
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>(),
        )
        .expect("keys")
    }

    #[test]
    fn first_key_seals_and_every_key_opens_at_the_same_place_only() {
        let lines = keys(&["old", "new"]);
        let old = ring(&[&lines[0]]);
        let both = ring(&[&lines[1], &lines[0]]);
        let sealed = old.seal("a", "whsec_secret");
        assert!(
            !sealed.contains("secret") && sealed != old.seal("a", "whsec_secret"),
            "a nonce each time"
        );
        assert_eq!(both.open("a", &sealed).as_deref(), Ok("whsec_secret"));
        assert_eq!(
            both.open("b", &sealed),
            Err(SealError::Damaged("old".into()))
        );
        let newer = both.seal("a", "whsec_secret");
        assert_eq!(
            (key_of(&sealed), key_of(&newer), key_of("whsec_secret")),
            (Some("old"), Some("new"), None)
        );
        assert_eq!(
            old.open("a", &newer),
            Err(SealError::MissingKey("new".into()))
        );
        assert_eq!(
            old.open("a", "whsec_secret").as_deref(),
            Ok("whsec_secret"),
            "stored before there were keys"
        );
        let namesake = ring(&[&keys(&["old"])[0]]);
        assert_eq!(
            namesake.open("a", &sealed),
            Err(SealError::Damaged("old".into()))
        );
    }

    #[test]
    fn sealed_text_with_a_changed_character_is_damaged() {
        let ring = ring(&[&keys(&["k"])[0]]);
        let sealed = ring.seal("a", "text");
        let body = PREFIX.len() + 2;
        for at in body..sealed.len() {
            let mut changed = sealed.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(
                ring.open("a", &changed),
                Err(SealError::Damaged("k".into())),
                "{at}"
            );
        }
        for short in ["sealed.v1.k.", "sealed.v1.k.AAAA", "sealed.v1.k.!"] {
            assert_eq!(ring.open("a", short), Err(SealError::Damaged("k".into())));
        }
    }

    /// The test vector of draft-irtf-cfrg-xchacha-03, A.3.1.
    #[test]
    fn cipher_equals_the_vector_of_xchacha20_poly1305() {
        let bytes = |text: &str| parse_hex(text).expect("hex");
        let key: [u8; 32] = std::array::from_fn(|at| 0x80 + u8::try_from(at).expect("small"));
        let nonce: [u8; 24] = std::array::from_fn(|at| 0x40 + u8::try_from(at).expect("small"));
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip \
            for the future, sunscreen would be it.";
        let payload = Payload {
            msg: text,
            aad: &bytes("50515253c0c1c2c3c4c5c6c7"),
        };
        let sealed = XChaCha20Poly1305::new(&Key::from(key))
            .encrypt(&XNonce::from(nonce), payload)
            .expect("far below the limit");
        assert_eq!(&sealed[..16], bytes("bd6d179d3e83d43b9576579493c0e939"));
        assert_eq!(
            &sealed[sealed.len() - 16..],
            bytes("c0875924c1c7987947deafd8780acf49")
        );
    }

    #[test]
    fn keys_file_with_a_wrong_line_names_that_line() {
        let good = keys(&["k-1"]).remove(0);
        assert_eq!(
            Keyring::parse(&format!("# newest first\n\n {good} \n"))
                .expect("a key")
                .newest(),
            "k-1"
        );
        assert_eq!(format!("{:?}", ring(&[&good])), r#"["k-1"]"#);
        for (text, error) in [
            (String::new(), KeyringError::Empty),
            ("# only this".into(), KeyringError::Empty),
            (format!("{good}\n{good}"), KeyringError::Twice(2)),
            (format!("{good}\nk2:AAAA"), KeyringError::Line(2)),
            (good.replace("k-1", "k.1"), KeyringError::Line(1)),
            (good.replace("k-1", ""), KeyringError::Line(1)),
            (good.replace(':', " "), KeyringError::Line(1)),
        ] {
            assert_eq!(Keyring::parse(&text).expect_err("wrong"), error);
        }
    }
}
