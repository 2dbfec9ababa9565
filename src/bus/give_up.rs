//! Deliveries that wahook cannot go on with: each becomes a dead letter and a row in the audit.
//!
//! Bodies are built to fit into the streams. So a delivery is too large only if the server's
//! `max_payload` is smaller than it was, or smaller than another server's of the cluster. It is
//! given up like one that the endpoint refused; trying again would not make it smaller.

use super::{Bus, Error};
use crate::{
    model::{Attempt, Delivery},
    telemetry,
    wire::DeadLetter,
};

/// Why a delivery is given up that the server does not take.
pub const TOO_LARGE: &str = "larger than the max_payload of nats-server, which keeps \
     deliveries: raise it to 2 MB, as nats/cluster.conf has it";

impl Bus {
    /// Makes a dead letter of the delivery, with the attempt's error as its reason, and puts the
    /// attempt into the audit. What the server does not take is cut.
    pub async fn give_up(&self, attempt: Attempt) -> Result<(), Error> {
        self.dead_letter(&DeadLetter::of(&attempt)).await?;
        telemetry::dead_letter(attempt.outcome.as_str());
        self.publish_result(attempt).await
    }

    /// Gives up what the server does not take.
    pub(super) async fn give_up_too_large(&self, delivery: &Delivery) -> Result<(), Error> {
        self.give_up(self.too_large(delivery.clone())).await
    }

    /// The audit's word that the server does not take the delivery.
    pub fn too_large(&self, delivery: Delivery) -> Attempt {
        telemetry::error("bus", "too_large");
        Attempt::abandoned(delivery, TOO_LARGE.to_owned(), self.now())
    }

    /// Hands one attempt to `record`. What the server does not take goes without its response, and
    /// then without its body.
    pub async fn publish_result(&self, mut attempt: Attempt) -> Result<(), Error> {
        let delivery = &attempt.delivery;
        let partition = self.partition_of(delivery.client_id, &delivery.phone);
        loop {
            let published = self
                .publish_results(partition, std::slice::from_ref(&attempt))
                .await;
            match published {
                Err(Error::TooLarge) if attempt.cut() => {}
                published => return published,
            }
        }
    }
}
