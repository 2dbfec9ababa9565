//! How a message ends on this node.

use std::time::Duration;

use super::{
    arrival::Source, engine::Engine, places::RequestPlace, results::Settled, taken_up::TakenUp,
};
use crate::{
    bus::{Error, Incoming},
    model::Attempt,
    telemetry,
};

/// Before a message comes again that cannot be taken further now: the first time, and at most.
const REDELIVERY_PAUSE: Duration = Duration::from_secs(5);
const REDELIVERY_PAUSE_MAX: Duration = Duration::from_secs(60);

/// How a message is to be settled.
pub(super) enum Settle {
    /// All is done and durable.
    Ack,
    /// Nothing was done: the next node shall.
    HandOver,
    /// Nothing was done, and it cannot be done soon.
    GiveBackLater,
    /// The bus failed; doing all of it again loses nothing.
    Failed(Error),
    /// Nothing was done, and another node may be doing it.
    Forget,
    /// It can never be read.
    Undecodable,
    /// Ack it once this is durable. The place is kept until then, which bounds the
    /// requests that are made again when this node dies.
    Publish(Box<Attempt>, Option<RequestPlace>),
}

/// Which stream is full.
pub(super) enum NoRoom {
    /// WA_CHAT.
    InQueue,
    /// WA_HOLD.
    ToHold,
}

/// What a stage answers: the value for the next stage, or how the message ends here.
pub(super) type Step<T> = Result<T, Settle>;

impl Settle {
    /// The message is done once this record is durable. No request was made for it.
    pub(super) fn publish(attempt: Attempt) -> Self {
        Self::Publish(Box::new(attempt), None)
    }
}

impl From<Error> for Settle {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl Engine {
    /// Settles a message. What it holds is free again once that is done.
    pub(super) async fn settle(&self, source: Source, settle: Settle, taken: TakenUp) {
        let incoming = source.incoming;
        match settle {
            Settle::Ack => {
                if incoming.ack().await.is_err() {
                    telemetry::error("deliver", "ack");
                }
            }
            Settle::HandOver => self.handover(source.work).add(incoming).await,
            Settle::GiveBackLater => incoming.nak(Some(REDELIVERY_PAUSE)).await,
            Settle::Failed(error) => {
                let pause = redelivery_pause(incoming.deliveries);
                give_back(incoming, &error, Some(pause)).await;
            }
            // Another node may be at it: a NAK would hand it out a third time.
            Settle::Forget => telemetry::error("deliver", "not_current"),
            Settle::Undecodable => {
                let source = Source { incoming, ..source };
                Box::pin(self.settle_undecodable(source)).await;
            }
            Settle::Publish(attempt, place) => {
                let settled = Settled {
                    attempt,
                    incoming,
                    _held: (taken, place),
                };
                // The other end lives until the last sender is gone; should it have died, the
                // message comes again.
                if self.results().send(settled).await.is_err() {
                    telemetry::error("deliver", "results_gone");
                }
            }
        }
    }

    /// Keeps the bytes of what nobody can read, and takes the message out of its stream.
    async fn settle_undecodable(&self, source: Source) {
        telemetry::error("deliver", "undecodable");
        let incoming = source.incoming;
        let kept = self
            .bus()
            .undecodable(
                source.work.stream(),
                incoming.stored_as(),
                incoming.subject(),
                incoming.payload(),
            )
            .await;
        match kept {
            Ok(()) => incoming.term("undecodable").await,
            Err(error) => {
                let pause = redelivery_pause(incoming.deliveries);
                give_back(incoming, &error, Some(pause)).await;
            }
        }
    }
}

/// Gives a message back over which the bus failed.
pub(super) async fn give_back(incoming: Incoming, error: &Error, pause: Option<Duration>) {
    telemetry::error("deliver", "bus");
    tracing::warn!(%error, "giving a message back");
    incoming.nak(pause).await;
}

/// Deliveries are counted and limited. Each one waits longer, so that an outage does not use them
/// up.
pub(super) fn redelivery_pause(deliveries: i64) -> Duration {
    let doublings = u32::try_from(deliveries.clamp(1, 16) - 1).unwrap_or(0);
    REDELIVERY_PAUSE
        .saturating_mul(1 << doublings)
        .min(REDELIVERY_PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limit() {
        assert_eq!(
            [0, 1, 2, 3, 4, 5, i64::MAX].map(|n| redelivery_pause(n).as_secs()),
            [5, 5, 10, 20, 40, 60, 60]
        );
    }
}
