//! WhatsApp messages in, signed webhooks out, with nothing lost between.
pub mod model;
