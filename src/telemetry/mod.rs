//! What the process tells about itself: log lines and metrics.
//!
//! Other rooms call one function per event (`telemetry::attempt(…)`) and never name a metric, so
//! all names, labels and help texts stand in one table, `names`; `docs/metrics.md` is made of it.
//! Logs go through `tracing`; [`init`] says where to and in which form.
//!
//! No label may hold what a stranger can choose: clients, webhooks, addresses and ids are never
//! labels, and texts from requests are folded into a fixed set first. Otherwise one caller could
//! fill the memory of everybody's monitoring.
//!
//! Before [`Metrics::install`] ran, all events go nowhere; that is what most tests want.

mod events;
mod logs;
mod names;
mod recorder;
mod report;

pub use events::*;
pub use logs::{Error, init};
pub use recorder::Metrics;
pub use report::report;
