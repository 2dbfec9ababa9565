//! The one way out to the internet.
//!
//! A [`Client`] posts a body and comes back with an [`Answer`]: whatever happens on the wire is an
//! outcome of the attempt. Only what is not the endpoint's fault is an error, [`NotMade`]. What it
//! guarantees:
//!
//! - **Where to.** Every address is judged by [`policy::address`](crate::policy::address) before it
//!   is dialled: literals when their [`Target`] is made, since neither they nor the rules change;
//!   names right before, whose addresses are what is dialled, so that a name cannot change its mind
//!   in between. One forbidden address among several refuses all. Redirects are not followed,
//!   proxies of the environment not used. The operator's own proxy is given judged addresses.
//! - **How long.** One deadline over all: name, connection, handshake, request, headers, body.
//! - **How much.** At most `response_bytes_max` of an answer are read, nothing is decompressed.
//!   Heads and interim answers are bounded ([`head`], [`frames`]).
//! - **Once.** An attempt is one request. It is made a second time only when a reused connection
//!   broke before the first byte of an answer ([`exchange`]).
//! - **The status decides.** An answer whose status line can be read is an answer, whatever the
//!   rest of its head looks like ([`watch`]).
//!
//! A request goes from [`client`] to [`exchange`], which takes a connection from [`pool`] or has
//! [`connect`] make one, and sends on it in [`connection`]. Connections are kept and used again by
//! origin: one request at a time with HTTP/1.1, many with HTTP/2.

mod client;
mod connect;
mod connection;
mod download;
mod exchange;
mod failure;
mod frames;
mod head;
mod pool;
mod proxy;
mod resolver;
mod stage;
mod target;
mod text;
mod tls;
mod watch;

pub use client::{Answer, Client, Post};
pub use download::Download;
pub use failure::NotMade;
pub use pool::IDLE_TIMEOUT;
pub use resolver::Lookup;
pub use target::Target;
pub use tls::Error;
