//! Where a message stands in its chat.

use super::{
    queues::ChatQueues,
    state::{Chat, ChatState},
};
use crate::{
    bus::{Error, Incoming, Queued, Redelivery, Work},
    model::Delivery,
};

/// How a message came here.
#[derive(Debug, Clone, Copy)]
pub(in crate::deliver) struct DeliveryOrigin {
    pub(super) redelivery: Redelivery,
    /// Its chat queue dispatched it, see [`Bus::dispatch_head`](crate::bus::Bus::dispatch_head).
    pub(super) released_from_queue: bool,
}

impl DeliveryOrigin {
    pub(in crate::deliver) fn new(work: Work, incoming: &Incoming) -> Self {
        Self {
            redelivery: incoming.redelivery(),
            released_from_queue: work == Work::Retry && incoming.is_from_chat_queue(),
        }
    }

    fn is_redelivered(self) -> bool {
        self.redelivery == Redelivery::Again
    }

    /// A queue dispatches only its head. If such a message is not the head now, it is done. When it
    /// was redelivered, it may not be on record.
    fn is_stale_unless_head(self) -> bool {
        self.released_from_queue && !self.is_redelivered()
    }
}

/// Where a message stands.
pub(super) enum Position {
    /// Nothing of its chat is before it.
    First {
        /// Whether it is the head of the queue in the stream.
        in_queue: bool,
    },
    /// Something is, or the message is done.
    NotFirst(NotNow),
}

/// Why a message is not attempted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::deliver) enum NotNow {
    /// It waits in the queue.
    Queued,
    /// It is a copy of what is done, or of what waits for its time.
    Stale,
    /// The same message is being attempted.
    InFlight,
    /// There is no room in the stream for those that wait.
    NoRoom,
}

/// Finds out where a message stands in its chat. It joins the queue if it is not the first. To be
/// called with the chat's gate held.
pub(super) async fn find_position(
    chat: &Chat,
    queues: &impl ChatQueues,
    delivery: &Delivery,
    origin: DeliveryOrigin,
) -> Result<Position, Error> {
    let returned = |state: &mut ChatState| state.returned_before(delivery.event_id);
    chat.enqueue_each(queues, returned).await?;
    let in_flight = chat.state().in_flight.clone();
    if let Some(now) = &in_flight {
        if now.delivery.event_id == delivery.event_id {
            // A redelivered one may be the very message that is in flight. Settling it would settle
            // both.
            return Ok(Position::NotFirst(match origin.redelivery {
                Redelivery::Again => NotNow::InFlight,
                Redelivery::First => NotNow::Stale,
            }));
        }
        if !origin.is_stale_unless_head() {
            chat.enqueue_behind(queues, delivery).await?;
            return Ok(Position::NotFirst(NotNow::Queued));
        }
    }
    let Some(head) = join_queue(queues, delivery, origin).await? else {
        return Ok(if origin.is_stale_unless_head() {
            Position::NotFirst(NotNow::Stale)
        } else {
            Position::First { in_queue: false }
        });
    };
    if head.delivery.event_id != delivery.event_id {
        return behind_head(queues, &head, origin).await;
    }
    // A parked copy that came due is gone. One that is still there was made after this copy, which
    // has done its part.
    let may_be_old = origin.is_redelivered() || origin.released_from_queue;
    if may_be_old && queues.is_parked(&head.delivery).await? {
        return Ok(Position::NotFirst(NotNow::Stale));
    }
    Ok(if in_flight.is_some() {
        Position::NotFirst(NotNow::InFlight)
    } else {
        Position::First { in_queue: true }
    })
}

/// Puts a message into a queue that has another head; the head after that.
async fn join_queue(
    queues: &impl ChatQueues,
    delivery: &Delivery,
    origin: DeliveryOrigin,
) -> Result<Option<Queued>, Error> {
    let head = queues.queue_head(delivery).await?;
    let has_other_head = head
        .as_ref()
        .is_some_and(|head| head.delivery.event_id != delivery.event_id);
    if origin.is_stale_unless_head() || !has_other_head {
        return Ok(head);
    }
    queues.enqueue(delivery).await?;
    // The old head may have left before this one joined, and seen nobody behind it.
    queues.queue_head(delivery).await
}

/// The place of a message that is not the head.
async fn behind_head(
    queues: &impl ChatQueues,
    head: &Queued,
    origin: DeliveryOrigin,
) -> Result<Position, Error> {
    // The node that had this one may have stopped after this one left the queue and before the next
    // was dispatched.
    if origin.is_redelivered() && !queues.is_parked(&head.delivery).await? {
        queues.dispatch_head(head).await?;
    }
    Ok(Position::NotFirst(if origin.is_stale_unless_head() {
        NotNow::Stale
    } else {
        NotNow::Queued
    }))
}
