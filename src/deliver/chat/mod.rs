//! The order of a chat's messages.

mod order;
mod sweep;

pub(super) use order::{Came, Head, Lines, Place, Ticket};
pub(super) use sweep::Sweep;
