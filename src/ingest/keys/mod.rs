//! The keys of a session in JetStream.
//!
//! The client reads and writes a copy in memory ([`KeyStore`]). A task of its own ([`writer`])
//! stores what changes, in order, in the session's log on the bus, which refuses a writer that
//! another has taken over from. There are three kinds of writes:
//!
//! - `now`: the call returns once the change is stored, and memory has it only then. All that a
//!   lost change would break: ratchets, prekeys, the device itself.
//! - `later`: memory has it at once. It is stored with the next record, or a moment later. What
//!   may be lost: caches, and deletes.
//! - Rows to replay messages from are in memory only, until a `now` write overtakes them: it may
//!   advance their ratchets for good, so they are stored in front of it, in the same record.

mod app_sync;
mod device;
mod memory;
mod protocol;
mod signal;
mod store;
mod table;
mod writer;

pub use store::KeyStore;
