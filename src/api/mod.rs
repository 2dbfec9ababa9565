//! The admin API, and the listener for probes.
//!
//! Every request passes, from the outside in: a request id, a total deadline and a guard against
//! panics ([`request_context`]); the token and the scope of its route ([`auth`]); the handler. The
//! token leads to a client, and every look-up starts there: an id of another client answers exactly
//! like one that does not exist.
//!
//! Every error is an RFC 9457 problem with one of the codes of [`problem`]. What
//! the caller reads is fixed per code, what happened inside goes to the log. Lists are
//! keyset pages: `{data, next_cursor, has_more}`, with sealed cursors ([`cursor`]).
//!
//! [`routes()`] is the one list of routes: it builds the router, and tests walk it. The page
//! ([`page`]) adds its files, and signing in.

pub mod admin;
mod auth;
mod backfill;
mod body;
mod chats;
mod client_lock;
mod contacts;
mod cursor;
mod dead_letters;
mod delivery_options;
mod events;
mod extract;
mod given;
mod idempotency;
mod media;
mod messages;
mod notices;
mod object_json;
mod page;
mod pages;
mod probe;
mod problem;
pub mod qr;
mod query;
mod quotas;
mod replays;
mod request_context;
mod request_id;
mod routes;
mod send;
mod server;
mod session_call;
mod session_list;
mod sessions;
mod state;
mod stats;
pub mod token;
mod views;
mod webhooks;

pub use media::{Download, MediaError, MediaFile, MediaSource, Pieces};
pub use probe::ask_probe;
pub use routes::{router, routes};
pub use server::{Limits, serve};
pub use state::AppState;
