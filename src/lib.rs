//! WhatsApp messages in, signed webhooks out, with nothing lost between.
//!
//! Each module is a room with one concern; `ARCHITECTURE.md` has the map, and a test holds who may
//! use whom.

pub mod api;
pub mod bus;
pub mod config;
pub mod deliver;
pub mod egress;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
#[cfg(feature = "whatsapp")]
pub mod ingest;
pub mod model;
pub mod node;
pub mod policy;
pub mod record;
pub mod replay;
pub mod store;
pub mod tasks;
pub mod telemetry;
pub mod wire;
