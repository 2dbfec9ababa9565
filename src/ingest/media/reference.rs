//! Where one file is, and the key to it.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use whatsapp_rust::{download::MediaType, types::message::MessageInfo, wacore_binary::JidExt as _};

use crate::{
    model::{ClientId, SessionId},
    wire,
};

/// Bytes of a media type and of a file name that are kept: they are in every media id.
const MIME_TYPE_BYTES_MAX: usize = 128;
const FILE_NAME_BYTES_MAX: usize = 255;
const MESSAGE_ID_BYTES_MAX: usize = 128;

/// Where one file is, and the key to it. Ids of webhooks hold it: a new field comes last, and has a
/// default.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    pub(super) kind: u8,
    pub(super) path: String,
    /// Empty for a file that is not encrypted.
    pub(super) key: ByteBuf,
    pub(super) sha256: ByteBuf,
    /// Empty for a file that is not encrypted.
    pub(super) encrypted_sha256: ByteBuf,
    /// 0 when it is not known.
    pub(super) length: u64,
    #[serde(default)]
    pub(super) mime_type: String,
    #[serde(default)]
    pub(super) file_name: Option<String>,
    #[serde(default)]
    pub(super) origin: Option<Origin>,
}

/// The message that a file came in: what the account's phone is asked by.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::ingest) struct Origin {
    pub(in crate::ingest) session: SessionId,
    pub(in crate::ingest) message_id: String,
    /// The chat's id with its domain.
    pub(in crate::ingest) chat: String,
    /// The sender in a group.
    pub(in crate::ingest) participant: Option<String>,
    pub(in crate::ingest) is_from_me: bool,
}

impl Origin {
    /// `None` for an id that is longer than real ones: it would be in the media id.
    pub(in crate::ingest) fn of(session: SessionId, info: &MessageInfo) -> Option<Self> {
        let source = &info.source;
        let sender = || source.sender.to_non_ad_string();
        (info.id.len() <= MESSAGE_ID_BYTES_MAX).then(|| Self {
            session,
            message_id: info.id.to_string(),
            chat: source.chat.to_non_ad_string(),
            participant: (source.chat.is_group() || source.chat.is_broadcast_list()).then(sender),
            is_from_me: source.is_from_me,
        })
    }
}

pub(super) const KINDS: [MediaType; 5] = [
    MediaType::Image,
    MediaType::Video,
    MediaType::Audio,
    MediaType::Document,
    MediaType::Sticker,
];

/// Hides whose it is.
impl std::fmt::Debug for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Origin").finish_non_exhaustive()
    }
}

/// Hides the key.
impl std::fmt::Debug for Reference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reference")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// What a message says of its file.
pub(in crate::ingest) struct Described<'a> {
    pub(in crate::ingest) path: Option<&'a str>,
    pub(in crate::ingest) key: Option<&'a [u8]>,
    pub(in crate::ingest) sha256: Option<&'a [u8]>,
    pub(in crate::ingest) encrypted_sha256: Option<&'a [u8]>,
    pub(in crate::ingest) length: Option<u64>,
    pub(in crate::ingest) mime_type: Option<&'a str>,
    pub(in crate::ingest) file_name: Option<&'a str>,
}

impl Reference {
    /// `None` when the message lacks something that is needed to get the file. One without a key,
    /// or without the hash of what is encrypted, is not encrypted, as in channels: its own hash
    /// tells if that is wrong.
    pub(in crate::ingest) fn new(kind: MediaType, file: &Described<'_>) -> Option<Self> {
        let key = file.key.unwrap_or_default();
        let (key, encrypted_sha256) = match file.encrypted_sha256 {
            Some(sha256) if !key.is_empty() => (key, sha256),
            _ => <(&[u8], &[u8])>::default(),
        };
        let cut =
            |text: &str, bytes_max: usize| text[..text.floor_char_boundary(bytes_max)].to_owned();
        Some(Self {
            kind: u8::try_from(KINDS.iter().position(|known| *known == kind)?).ok()?,
            path: file.path?.to_owned(),
            key: ByteBuf::from(key),
            sha256: ByteBuf::from(file.sha256?),
            encrypted_sha256: ByteBuf::from(encrypted_sha256),
            length: file.length.unwrap_or_default(),
            mime_type: cut(file.mime_type.unwrap_or_default(), MIME_TYPE_BYTES_MAX),
            file_name: file.file_name.map(|name| cut(name, FILE_NAME_BYTES_MAX)),
            origin: None,
        })
    }

    /// The same file with the message that it came in.
    pub(in crate::ingest) fn came_in(&self, origin: Option<Origin>) -> Self {
        Self {
            origin,
            ..self.clone()
        }
    }

    /// The same file in another place.
    pub(in crate::ingest) fn moved_to(&self, path: String) -> Self {
        Self {
            path,
            ..self.clone()
        }
    }

    /// The message that it came in, if its phone can be asked for it again.
    pub(in crate::ingest) fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref().filter(|_| self.is_encrypted())
    }

    pub(in crate::ingest) fn key(&self) -> &[u8] {
        &self.key
    }

    /// The session that it came through, if the account's phone can be asked for it again.
    pub fn session(&self) -> Option<SessionId> {
        self.origin().map(|origin| origin.session)
    }

    /// The same file, not encrypted: messages of channels may name a key all the same.
    pub(in crate::ingest) fn in_clear(&self) -> Self {
        Self {
            key: ByteBuf::new(),
            encrypted_sha256: ByteBuf::new(),
            ..self.clone()
        }
    }

    pub(super) fn is_encrypted(&self) -> bool {
        !self.key.is_empty()
    }

    /// What its sender says it is; empty when the message does not say.
    pub fn mime_type(&self) -> &str {
        &self.mime_type
    }

    /// Its name, where it has one.
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// The id that webhooks show.
    pub(in crate::ingest) fn seal(&self, secret: &[u8; 32], client: ClientId) -> String {
        wire::encode_opaque_id(secret, client, self)
    }

    /// The reference behind an id, if it is this client's.
    pub fn unseal(secret: &[u8; 32], client: ClientId, id: &str) -> Option<Self> {
        wire::decode_opaque_id(secret, client, id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_before_the_type_was_kept_are_still_read() {
        let secret = [7; 32];
        let client = ClientId::try_from(1).expect("an id");
        let bytes = |text: &str| ByteBuf::from(text.as_bytes());
        let earlier = (0_u8, "/v/1", bytes("key"), bytes("a"), bytes("b"), 9_u64);
        let id = wire::encode_opaque_id(&secret, client, &earlier);
        let read = Reference::unseal(&secret, client, &id).expect("readable");
        assert_eq!(
            (read.length, read.mime_type(), read.file_name()),
            (9, "", None)
        );
        assert!(read.is_encrypted() && !read.in_clear().is_encrypted());
        assert_eq!(read.session(), None, "nobody can be asked for it again");
    }

    #[test]
    fn a_file_keeps_the_message_that_it_came_in_unless_it_is_in_clear() {
        let secret = [7; 32];
        let client = ClientId::try_from(1).expect("an id");
        let origin = Origin {
            session: SessionId(uuid::Uuid::from_u128(7)),
            message_id: "3EB0".to_owned(),
            chat: "1@g.us".to_owned(),
            participant: Some("2@lid".to_owned()),
            is_from_me: false,
        };
        let file = Described {
            path: Some("/v/1"),
            key: Some(b"key"),
            sha256: Some(b"hash"),
            encrypted_sha256: Some(b"hash"),
            length: None,
            mime_type: None,
            file_name: None,
        };
        let reference = Reference::new(MediaType::Image, &file).expect("complete");
        let id = reference
            .came_in(Some(origin.clone()))
            .seal(&secret, client);
        let read = Reference::unseal(&secret, client, &id).expect("readable");
        assert_eq!(read.origin(), Some(&origin));
        assert_eq!(read.in_clear().origin(), None);
        let moved = read.moved_to("/v/2".to_owned());
        assert_eq!(
            (moved.path.as_str(), moved.session()),
            ("/v/2", Some(origin.session))
        );
    }

    #[test]
    fn a_file_without_a_key_is_in_clear_and_one_without_its_hash_cannot_be_had() {
        let file = Described {
            path: Some("/v/1"),
            key: None,
            sha256: Some(b"hash"),
            encrypted_sha256: None,
            length: None,
            mime_type: Some("image/png"),
            file_name: None,
        };
        let reference = Reference::new(MediaType::Image, &file).expect("complete");
        assert!(!reference.is_encrypted());
        let empty = Described {
            key: Some(b""),
            ..file
        };
        let without_hash = Described {
            key: Some(b"key"),
            ..empty
        };
        for file in [&empty, &without_hash] {
            let same = Reference::new(MediaType::Image, file);
            assert_eq!(same.as_ref(), Some(&reference));
        }
        let without = [
            Described {
                path: None,
                ..empty
            },
            Described {
                sha256: None,
                ..empty
            },
        ];
        for file in without {
            assert_eq!(Reference::new(MediaType::Image, &file), None);
        }
    }
}
