//! JetStream, and nothing of it outside this room.
//!
//! - [`Bus`]: one connection. It publishes until acknowledged, within a deadline, always under the same id, so that
//!   trying again cannot double a message.
//! - [`Pull`] and [`Incoming`]: what a durable consumer brings, and settling it once: `ack`, `nak` and `term` take
//!   the message away.
//! - [`Registry`]: webhooks, tokens and shared keys in key-value buckets. Changes are compare-and-set; reads come
//!   from a cache that a watch keeps, and a miss is never believed without asking the server.
//! - [`SessionChanges`]: WhatsApp sessions as their clients want them, one change after the other.
//! - [`SendRequests`]: what a session is asked to send.
//! - [`Lease`]: the right to be the only one who runs something, for as long as it is renewed.
//! - [`Change`] and [`Difference`]: the streams and consumers as `nats/` declares them, applied or compared.
//!
//! A fixed number of partitions, each with a pinned consumer, stands in place of a consumer per endpoint: consumers
//! cost the server memory and start-up time, endpoints are only data.

mod connection;
mod declare;
mod error;
mod hold;
mod lease;
mod poison;
mod publish;
mod pull;
mod registry;
mod send;
mod sessions;
mod tokens;

pub use connection::Bus;
pub use declare::{Change, Difference};
pub use error::Error;
pub use lease::{LEASE_TTL, Lease};
pub use publish::Published;
pub use pull::{Incoming, Pull, Work};
pub use registry::Registry;
pub use send::{SendReply, SendRequests};
pub use sessions::SessionChanges;
