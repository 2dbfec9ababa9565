//! One session on this node: a client that runs, and what happens when it ends.
//!
//! A [`SessionTask`] has the session's lease. It runs one client after another, and between them
//! waits for the session's owner or for its next try. [`events`] says what each of the client's
//! events means; everything else here acts on that.

mod client;
mod events;
mod exit;
mod gap;
mod live;
mod liveness;
mod outside_hook;
mod requests;
mod silence;
mod status;
mod task;
mod unlink;

pub(super) use task::SessionTask;
