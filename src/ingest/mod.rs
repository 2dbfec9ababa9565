//! WhatsApp accounts to acknowledged publishes.
//!
//! A **session** is one linked device of one account. Its owner asks for it through the admin API,
//! which writes it to a bucket that every ingest node watches. Whoever gets the session's lease
//! runs it: the lease keeps others away, its epoch fences the session's files against a node that
//! lost it unawares, and a node that stops gives it back.
//!
//! What comes in is published from the client's durability hook, before WhatsApp is told that it
//! arrived. While NATS takes nothing, sessions go offline and WhatsApp keeps the messages. What
//! WhatsApp hands out twice is published under the same id and stored once.
//!
//! Messages with which devices exchange keys and settings never leave this room; neither do keys to
//! media, which travel sealed. One session's panic ends that session alone; it is started anew some
//! seconds later.

mod backend;
mod content;
mod events;
mod files;
mod hook;
mod lock;
mod manager;
mod media;
mod send;
mod session;
mod status;

pub use files::{Open, Opening, sqlite};
use manager::Context;
pub use manager::Ingest;
pub use media::{MEDIA_BYTES_MAX, Media, MediaError, Pieces, Reference};
pub use send::{Fetch, Fetched, Fetching};
