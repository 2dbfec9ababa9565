//! How a message ends here.

use std::time::SystemTime;

use tokio::sync::OwnedSemaphorePermit;

use crate::model::{Attempt, Timestamp};

/// How the message is to be settled.
pub(super) enum Settle {
    /// All is done and durable.
    Ack,
    /// Nothing was done: another node shall.
    GiveBack,
    /// Nothing was done, and it cannot be done soon.
    GiveBackLater,
    /// Nothing was done, and another node may be doing it.
    Forget,
    /// It can never be read.
    Undecodable,
    /// Ack it once this is durable. The permit is kept until then, so that no more than
    /// `in_flight_max` requests are made again when this node dies.
    Publish(Box<Attempt>, Option<OwnedSemaphorePermit>),
}

impl Settle {
    /// The message is done once this record is durable. No request was made for it.
    pub(super) fn publish(attempt: Attempt) -> Self {
        Self::Publish(Box::new(attempt), None)
    }
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
