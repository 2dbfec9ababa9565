//! JetStream, and nothing of it outside this room.
//!
//! - [`Bus`]: one connection. It publishes until acknowledged, within a deadline, always under the
//!   same id, so that trying again cannot double a message.
//! - [`Pull`] and [`Incoming`]: what a durable consumer brings, and settling it once: `ack`, `nak`
//!   and `term` take the message away.
//! - [`Webhooks`], [`ApiTokens`], [`ClientLimits`], [`Sessions`], [`Jobs`], [`SharedKeys`]: a
//!   client for each kind of value in key-value buckets. Changes are compare-and-set. Webhooks are
//!   cached: a watch keeps the cache current, and a miss is never believed without asking the
//!   server.
//! - [`KeyRotation`]: secrets are stored sealed, with keys that the nodes alone have.
//! - [`SessionChanges`] and [`JobChanges`]: all values, and then each change of one.
//! - [`Advisory`] and [`ExhaustedMessage`]: messages that reached `max_deliver`.
//! - [`SendRequests`]: what a session is asked to send.
//! - [`Lease`]: the right to be the only one who runs something, for as long as it is renewed.
//! - [`KeyLog`]: the keys of a WhatsApp session, in a log that one owner alone can write to.
//! - [`Queued`]: the queue of a chat whose messages go one after the other.
//! - [`AttemptQuery`]: whether an attempt is on record, asked of the nodes that record.
//! - [`Membership`]: which nodes deliver, and whether this one may still count itself among them.
//! - [`Partition`]: what operators see: who runs what, and how far behind it is.
//! - [`Change`] and [`Difference`]: the streams and consumers as `nats/` declares them, applied or
//!   compared; [`IncompleteCopy`]: a copy of one that lacks something.
//! - [`patiently`]: asking until the servers have elected a leader.
//!
//! There is a fixed number of partitions, each with a pinned consumer, and not a consumer per
//! endpoint: consumers cost the server memory and start-up time, endpoints are only data.

mod advisory;
mod attempt_query;
mod bucket;
mod bucket_list;
mod bucket_watch;
mod chat;
mod client_limits;
mod connection;
mod copies;
mod declare;
mod error;
mod feed;
mod fills;
mod freshness;
mod give_back;
mod give_up;
mod hearing;
mod hold;
mod in_hand;
mod incoming;
mod jobs;
mod key_feed;
mod key_log;
mod key_reading;
mod key_reseal;
mod key_rotation;
mod key_takeover;
mod lease;
mod member_view;
mod members;
mod notices;
mod outbound;
mod page_sessions;
mod parked;
mod partitions;
mod patience;
mod probe;
mod publish;
mod pull;
mod pulse;
mod quarantine;
mod quotas;
mod reclaim;
mod repartition;
mod retry_room;
mod room;
mod server_clock;
mod servers;
mod sessions;
mod shared_keys;
mod shares;
mod sizes;
mod stream;
mod tokens;
mod usage;
mod usage_list;
mod usage_report;
mod webhook_barrier;
mod webhook_cache;
mod webhook_changes;
mod webhooks;
mod whereabouts;
mod work;

pub use advisory::{Advisory, ExhaustedMessage};
pub use attempt_query::{AttemptQueries, AttemptQuery, Reply};
pub use chat::Queued;
pub use client_limits::ClientLimits;
pub use connection::Bus;
pub use copies::{CopyFault, IncompleteCopy};
pub use declare::{Change, Difference};
pub use error::Error;
pub use freshness::Revision;
pub use give_up::TOO_LARGE;
pub use hold::{Held, HeldReader};
pub use incoming::{Incoming, Redelivery};
pub use jobs::{JobChanges, Jobs};
pub use key_log::KeyLog;
pub use key_rotation::{KeyRotation, Resealed};
pub use lease::{LEASE_TTL, Lease};
pub use members::{Member, Membership};
pub use outbound::{SendClaim, SendReply, SendRequests};
pub use parked::PARKED_AHEAD_MAX;
pub use partitions::{Backlog, Partition};
pub use patience::patiently;
pub use publish::{EncodedMessage, Published};
pub use pull::Pull;
pub use quotas::Recount;
pub use sessions::{SessionChanges, Sessions};
pub use shared_keys::SharedKeys;
pub use shares::{UnderWay, UsedUp};
pub use stream::{StoredAs, Stream};
pub use tokens::ApiTokens;
pub use webhooks::Webhooks;
pub use whereabouts::ResultsRead;
pub use work::Work;
