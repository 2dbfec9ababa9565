//! Composition root: which roles this process plays, when it is ready, and how it stops.
//!
//! A role is a set of tasks on one [`TaskTracker`](tokio_util::task::TaskTracker) and one
//! cancellation token:
//!
//! | role | tasks | ready when |
//! | --- | --- | --- |
//! | `api` | admin API; jobs: replays and releases | the bus is connected |
//! | `ingest` | one per WhatsApp session | the bus is connected |
//! | `deliver` | pull loops, lanes, result groups | the bus is connected; the store may be down |
//! | `record` | pull loops | the bus is connected and the store answers |
//!
//! The listener for people and probes runs beside every role. A listener that ends before the drain
//! ends the node with exit code 1, so that its supervisor starts it anew. A task that panics costs
//! its message one redelivery; every panic is logged with its place and counted in
//! `wahook_errors_total{code="panic"}`, which deserves an alarm.
//!
//! Stopping has one deadline, `node.drain_deadline`, counted from the first SIGTERM or SIGINT:
//! `/readyz` turns 503, after `node.drain_delay` the loops stop taking work, attempts under way end
//! and are settled, and whatever is left at the deadline is dropped unsettled, to be delivered
//! again elsewhere. A second signal ends the process at once.
//!
//! `wahook dev` adds a `nats-server` child ([`dev`]) and applies the bus's declarations first.

pub mod cli;
mod commands;
mod dev;
mod drain;
mod import;
mod migrate;
mod readiness;
mod roles;
mod secrets;
mod session;

pub use commands::run;
