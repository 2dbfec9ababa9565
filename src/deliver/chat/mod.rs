//! The order of a chat's messages.
//!
//! Where a webhook asks for it, a message is attempted only when the one before it in its chat is
//! delivered or given up. While all goes well that costs one look at an empty chat queue. A message
//! that cannot be delivered now joins the chat's queue in the stream as its head, and is parked
//! like any other. Those that come after it join behind it. When the head is done, it is removed
//! and the next one is dispatched (see [`Bus::dequeue`](crate::bus::Bus::dequeue) for what holds
//! when that is interrupted).
//!
//! - [`order`]: whose turn it is in a chat, on one node.
//! - [`state`]: what that node knows of the chat.
//! - [`position`]: where a message stands in its chat, by that and by the queue in the stream.
//! - [`queues`]: what these two ask of the bus.
//! - [`sweep`]: finds queues that nobody works on.

mod order;
mod position;
mod queues;
mod state;
mod sweep;

pub(super) use order::{ChatOrder, InFlightSlot, Place, Ticket, Waited};
pub(super) use position::{DeliveryOrigin, NotNow};
pub(super) use sweep::Sweep;

#[cfg(test)]
mod tests;
