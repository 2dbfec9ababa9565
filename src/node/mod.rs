//! Composition root: which roles this process plays, when it is ready, and how it stops.
//!
//! A role is a set of [`tasks`](crate::tasks) that end after one cancellation token:
//!
//! | role | tasks | ready when |
//! | --- | --- | --- |
//! | `api` | admin API; jobs: replays and releases | the bus is connected |
//! | `ingest` | one per WhatsApp session | the bus is connected |
//! | `deliver` | pull loops, lanes, result groups | the bus is connected; the store may be down |
//! | `record` | pull loops | the bus is connected and the store answers |
//!
//! The listener for people and probes runs beside every role. A task that the node cannot do
//! without ends it with exit code 1 when it ends before the drain, so that its supervisor starts
//! the node again; others are started again here. Each kind of task says which it is. A task that
//! panics over one message costs that message one redelivery. Every panic is logged with its place
//! and counted in `wahook_errors_total{code="panic"}`, which deserves an alarm.
//!
//! Stopping: at the first SIGTERM or SIGINT `/readyz` turns 503. After `node.drain_delay` the loops
//! stop taking work, attempts under way end and are settled. For that there is one deadline,
//! `node.drain_deadline`. What is left then is dropped unsettled and delivered again elsewhere. A
//! second signal ends the process at once.
//!
//! `wahook dev` adds a `nats-server` child ([`dev`]) and applies the bus's declarations first.

pub mod cli;
mod commands;
mod connect;
mod dev;
mod drain;
mod import;
mod keys;
mod migrate;
mod partitions;
mod readiness;
mod roles;
mod secrets;
mod session;
mod token;

pub use commands::run;
