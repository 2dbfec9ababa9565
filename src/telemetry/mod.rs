//! Log lines and metrics.
//!
//! Other rooms call one function per event (`telemetry::attempt(…)`) and never name a metric. All
//! names, labels and help texts are in one table, `names`, from which `docs/metrics.md` is
//! generated. Logs go through `tracing`; [`init`] sets their destination and format.
//!
//! No label contains what a caller can choose: no client, webhook, address or id, and texts from
//! requests are mapped to a fixed set first. Otherwise one caller could fill the memory of the
//! monitoring with labels.
//!
//! Until [`Metrics::install`] is called, events are not counted. Most tests want that.

mod events;
mod from_start;
mod logs;
mod names;
mod printable;
mod recorder;
mod report;

pub use events::*;
pub use from_start::task_kind;
pub use logs::{Error, check_filter, init};
pub use printable::printable;
pub use recorder::Metrics;
pub use report::report;
