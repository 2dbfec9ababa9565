//! The end of a message that nats-server does not take as a retry, a held delivery or an entry of a
//! chat queue. It would never be taken, so it is given up at once.

use super::{
    arrival::{Content, Encoded, Source},
    engine::Engine,
    route::{Route, route},
    settle::Settle,
    steps,
};
use crate::{
    bus::{Error, Redelivery},
    telemetry,
};

impl Engine {
    /// Gives the message up that could not be postponed. Each step may be repeated without harm.
    pub(super) async fn too_large(&self, source: &Source) -> Result<Settle, Error> {
        let bus = self.bus();
        let incoming = &source.incoming;
        let content = Content::read(bus, Encoded::of(source.work, incoming)).await?;
        // It may have left its chat queue.
        let again = Redelivery::Again;
        Ok(match route(bus, content).await? {
            Route::Undecodable => Settle::Undecodable,
            Route::Unrouted => {
                telemetry::unrouted();
                Settle::Ack
            }
            Route::WebhookDeleted(delivery) => {
                bus.dequeue(&delivery, again).await?;
                Settle::publish(steps::webhook_deleted_record(delivery, bus.now()))
            }
            Route::To(delivery, _) => {
                bus.give_up(bus.too_large(delivery.clone())).await?;
                bus.dequeue(&delivery, again).await?;
                self.shared.notices.dead_letter(&delivery);
                Settle::Ack
            }
        })
    }
}
