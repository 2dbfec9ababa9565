//! WhatsApp accounts to acknowledged publishes.
//!
//! A **session** is one linked device of one account. Its owner asks for it through the admin API,
//! which writes it to a bucket that every ingest node watches. The node that gets the session's
//! lease runs it. The lease's epoch fences the session's files against a node that lost the lease
//! without noticing. A node that stops gives its leases back. Keys in JetStream ([`keys`]) need no
//! files: then the nodes share the sessions ([`holders`]) and take them over from each other.
//!
//! Messages are published from the client's durability hook, before WhatsApp gets a receipt. While
//! NATS takes nothing, sessions go offline and WhatsApp keeps the messages. A message that WhatsApp
//! hands out twice is published under the same id and stored once.
//!
//! Messages with which devices exchange keys and settings are never published. Keys to media leave
//! this room only encrypted. A panic ends one session alone, which is started again some seconds
//! later.
//!
//! Every log line of a session's task carries `session.id` and `client.id`, from a span.

mod backend;
mod backfill;
mod content;
mod context;
mod doctor;
mod fetch;
mod files;
mod holders;
mod hook;
mod keys;
mod lock;
mod manager;
mod media;
mod names;
mod parties;
mod polls;
mod receipt;
mod recent;
mod seen;
mod send;
mod session;
mod storage;
mod unread;

pub use doctor::{Finding, examine};
pub use fetch::{Fetch, Fetched, Fetching};
pub use files::{Open, Opening, sqlite};
pub use keys::KeyStore;
pub use manager::Ingest;
pub use media::{MEDIA_BYTES_MAX, Media, MediaError, Pieces, Reference};

/// Text and metadata of a decrypted WhatsApp message, for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn content_of(
    bytes: &[u8],
) -> Option<(String, serde_json::Map<String, serde_json::Value>)> {
    let message = whatsapp_rust::waproto::codec::message_decode(bytes).ok()?;
    content::read(&message).map(|content| (content.text, content.metadata))
}
