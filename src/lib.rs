//! WhatsApp messages in, signed webhooks out, with nothing lost between.

pub mod bus;
pub mod config;
pub mod deliver;
pub mod egress;
pub mod model;
pub mod policy;
pub mod record;
pub mod store;
pub mod telemetry;
pub mod wire;
