//! The one way out to the internet.
//!
//! A [`Client`] posts a body and always comes back with an [`Answer`], never with an error:
//! whatever happens on the wire is an outcome of the attempt. What it guarantees:
//!
//! - **Where to.** Every address is judged by [`policy::address`](crate::policy::address) before it
//!   is dialled: literals when their [`Target`] is made, since neither they nor the rules change;
//!   names in the resolver right before, whose answer is what is dialled, so that a name cannot
//!   change its mind in between. One forbidden address among several refuses all. Redirects are not
//!   followed, proxies of the environment not used.
//! - **How long.** One deadline over all: name, connection, handshake, request, headers, body.
//! - **How much.** At most `response_bytes_max` of an answer are read, nothing is decompressed.
//! - **Once.** No retries here: an attempt is one request.
//!
//! Connections are kept and used again, per host.

mod client;
mod download;
mod failure;
mod resolver;

pub use client::{Answer, Client, Error, Target};
pub use download::Download;
pub use resolver::Lookup;
