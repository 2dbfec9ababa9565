//! Composition root: which roles this process has, when it is ready, and how it stops.
//!
//! A role is a set of [`tasks`](crate::tasks) that end when one token is cancelled:
//!
//! | role | tasks | ready when |
//! | --- | --- | --- |
//! | `api` | admin API; jobs: replays and releases | the bus can be written |
//! | `ingest` | one per WhatsApp session | the bus can be written |
//! | `deliver` | pull loops, attempts, result groups | the bus can be written |
//! | `record` | pull loops | the bus and the store can be written |
//!
//! Every node has the listener for probes and metrics, whatever its roles. The kind of a task says
//! what its early end does: the node stops with exit code 1, so that its supervisor starts it
//! again; or the task is started again. If the task of one message panics, the message is
//! redelivered. Every panic is logged with its place and counted in
//! `wahook_errors_total{code="panic"}`, which should raise an alarm.
//!
//! Stopping: at the first SIGTERM or SIGINT `/readyz` answers 503. After `node.drain_delay` the
//! loops stop taking work, and attempts in flight end and are settled. For that there is one
//! deadline, `node.drain_deadline`. Messages that are not settled by then are redelivered
//! elsewhere. A second signal ends the process at once.
//!
//! `wahook dev` adds a `nats-server` child ([`dev`]) and applies the bus's declarations first.

mod check;
pub mod cli;
mod clients;
mod commands;
mod connect;
mod data_dir;
mod dev;
mod doctor;
mod drain;
mod healthcheck;
mod import;
mod keys;
mod migrate;
mod open_files;
mod partitions;
mod readiness;
mod roles;
mod secrets;
mod session;
mod token;
mod whatsapp;

pub use check::check;
pub use commands::run;
