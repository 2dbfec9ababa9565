//! The order of a chat's messages.

mod order;
mod sweep;

pub(super) use order::{ChatOrder, DeliveryOrigin, InFlightSlot, Place, Ticket};
pub(super) use sweep::Sweep;
