//! Small helpers around keys, time and stanzas.

use std::time::{SystemTime, UNIX_EPOCH};

use wacore_binary::{Node, NodeContent, NodeRef};
use whatsapp_rust::wacore::libsignal::protocol::PublicKey;

pub(crate) fn rng() -> rand::rngs::StdRng {
    rand::make_rng()
}

/// The 32 bytes of a public key.
pub(crate) fn public(key: &PublicKey) -> [u8; 32] {
    key.public_key_bytes()
        .try_into()
        .expect("keys of this curve have 32 bytes")
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

pub(crate) fn big_endian(bytes: &[u8]) -> u32 {
    bytes
        .iter()
        .fold(0, |sum, byte| (sum << 8) | u32::from(*byte))
}

/// An attribute's text; empty when it is not there.
pub(crate) fn attr(node: &NodeRef<'_>, name: &str) -> String {
    node.get_attr(name)
        .map(|value| value.as_str().into_owned())
        .unwrap_or_default()
}

/// The same of an owned stanza.
pub(crate) fn own_attr(node: &Node, name: &str) -> String {
    node.attrs
        .get(name)
        .map(|value| value.as_str().into_owned())
        .unwrap_or_default()
}

/// The bytes in a child; empty when it is not there.
pub(crate) fn child_bytes(node: &NodeRef<'_>, tag: &str) -> Vec<u8> {
    node.get_optional_child(tag)
        .and_then(|child| child.content_bytes())
        .unwrap_or_default()
        .to_vec()
}

pub(crate) fn own_bytes(node: &Node) -> &[u8] {
    match &node.content {
        Some(NodeContent::Bytes(bytes)) => bytes,
        _ => &[],
    }
}
