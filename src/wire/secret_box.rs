//! Secrets at rest: sealed with keys that do not lie beside them.

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use chacha20poly1305::{
    Key, KeyInit, XChaCha20Poly1305, XNonce,
    aead::{Aead, Payload},
};

const PREFIX: &str = "sealed.v1.";
const NONCE: usize = 24;
const KEY_ID_CHARS_MAX: usize = 32;

/// Why there is no keyring. No key is ever repeated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    /// Nothing but comments.
    #[error(
        "it holds no key: a line is <id>:<base64 of 32 bytes>, as `wahook secrets new-key` prints \
         it"
    )]
    Empty,
    /// A line that is no key.
    #[error(
        "line {0}: it is not <id>:<base64 of 32 bytes>, the id of 1 to 32 letters, digits, - and _"
    )]
    Line(usize),
    /// Two keys of one name.
    #[error("line {0}: there is a key of this id already")]
    Twice(usize),
}

/// Why a sealed value stays closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// Sealed with a key that is not here.
    #[error(
        "sealed with the key {0}, which is not in the keys file: put it back, behind the first one"
    )]
    MissingKey(String),
    /// Changed, moved here from another place, or sealed with another key of the same id.
    #[error(
        "its seal does not fit: it was changed, or the key {0} is not the one that it was sealed \
         with"
    )]
    Damaged(String),
}

/// Keys that secrets are sealed with: the first one seals, all of them open. Its `Debug` shows ids
/// alone.
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
    /// From the text of a keys file: a key per line, the newest first; `#` begins a comment.
    ///
    /// # Errors
    /// Names the line that is wrong.
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

    /// A line of a keys file with a new key.
    ///
    /// # Errors
    /// When `id` cannot be one.
    pub fn new_line(id: &str) -> Result<String, KeyringError> {
        let line = format!(
            "{id}:{}",
            BASE64_STANDARD.encode(rand::random::<[u8; 32]>())
        );
        key_line(&line).ok_or(KeyringError::Line(1))?;
        Ok(line)
    }

    /// The id of the key that seals.
    pub fn newest(&self) -> &str {
        &self.0[0].0
    }

    /// Seals a text with the first key. It opens only where `place` is the same: XChaCha20-Poly1305
    /// covers it. The nonce is drawn by chance: with 192 bits no two will ever be equal.
    pub fn seal(&self, place: &str, text: &str) -> String {
        let (id, cipher) = &self.0[0];
        let nonce: [u8; NONCE] = rand::random();
        let payload = Payload {
            msg: text.as_bytes(),
            aad: &covered(place, id),
        };
        let sealed = cipher
            .encrypt(&XNonce::from(nonce), payload)
            .expect("far below the cipher's limit");
        format!(
            "{PREFIX}{id}.{}",
            BASE64_URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
        )
    }

    /// What was sealed at this place; a text that is not sealed as it is, since it was stored
    /// before there were keys.
    ///
    /// # Errors
    /// When its key is missing, or its seal does not fit.
    pub fn open(&self, place: &str, stored: &str) -> Result<String, SealError> {
        let Some((id, rest)) = sealed_parts(stored) else {
            return Ok(stored.to_owned());
        };
        let (_, cipher) = self
            .0
            .iter()
            .find(|(known, _)| known == id)
            .ok_or_else(|| SealError::MissingKey(id.to_owned()))?;
        let opened = || {
            let bytes = BASE64_URL_SAFE_NO_PAD.decode(rest).ok()?;
            let (nonce, sealed) = bytes.split_at_checked(NONCE)?;
            let nonce = <[u8; NONCE]>::try_from(nonce).ok()?;
            let payload = Payload {
                msg: sealed,
                aad: &covered(place, id),
            };
            String::from_utf8(cipher.decrypt(&XNonce::from(nonce), payload).ok()?).ok()
        };
        opened().ok_or_else(|| SealError::Damaged(id.to_owned()))
    }
}

/// The id of the key that a stored text is sealed with; `None` when it is not sealed.
pub(super) fn key_of(stored: &str) -> Option<&str> {
    sealed_parts(stored).map(|(id, _)| id)
}

fn sealed_parts(stored: &str) -> Option<(&str, &str)> {
    stored.strip_prefix(PREFIX)?.split_once('.')
}

/// No id holds a line break, so no two pairs give the same bytes.
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
    fn the_first_key_seals_and_every_key_opens_at_its_place_alone() {
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
        let anew = both.seal("a", "whsec_secret");
        assert_eq!(
            (key_of(&sealed), key_of(&anew), key_of("whsec_secret")),
            (Some("old"), Some("new"), None)
        );
        assert_eq!(
            old.open("a", &anew),
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
    fn any_changed_character_is_noticed() {
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

    /// The vector of draft-irtf-cfrg-xchacha-03, A.3.1: the cipher is the one that it is said to
    /// be.
    #[test]
    fn the_cipher_is_xchacha20_poly1305() {
        let hex = |text: &str| -> Vec<u8> {
            let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
            let byte = |two: &[u8]| {
                u8::from_str_radix(std::str::from_utf8(two).expect("ASCII"), 16).expect("hex")
            };
            digits.chunks(2).map(byte).collect()
        };
        let key: [u8; 32] = std::array::from_fn(|at| 0x80 + u8::try_from(at).expect("small"));
        let nonce: [u8; 24] = std::array::from_fn(|at| 0x40 + u8::try_from(at).expect("small"));
        let text = b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip \
            for the future, sunscreen would be it.";
        let payload = Payload {
            msg: text,
            aad: &hex("50515253c0c1c2c3c4c5c6c7"),
        };
        let sealed = XChaCha20Poly1305::new(&Key::from(key))
            .encrypt(&XNonce::from(nonce), payload)
            .expect("far below the limit");
        assert_eq!(&sealed[..16], hex("bd6d179d3e83d43b9576579493c0e939"));
        assert_eq!(
            &sealed[sealed.len() - 16..],
            hex("c0875924c1c7987947deafd8780acf49")
        );
    }

    #[test]
    fn a_file_is_read_or_its_wrong_line_named() {
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
