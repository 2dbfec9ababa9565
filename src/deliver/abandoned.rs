//! Puts messages that the server has given up into the dead letters.
//!
//! It gives one up after ten deliveries without an answer: the nodes died, or the bus failed. The
//! dead letter says that the endpoint is not to blame. Each step may be repeated without harm, and
//! the advisory is acknowledged after all of them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{
    arrival::Content,
    notices::Notices,
    route::{Route, route},
    steps,
};
use crate::{
    bus::{Advisory, Bus, Error, ExhaustedMessage, Incoming, Pull, Redelivery, Work},
    model::{Delivery, Timestamp},
    telemetry,
    wire::{self, DeadLetter},
};

/// Before an advisory is looked at again that could not be followed.
const PAUSE: Duration = Duration::from_secs(5);

pub(super) async fn run(mut pull: Pull, bus: Bus, notices: Arc<Notices>) {
    while let Some(incoming) = pull.next().await {
        match follow(&bus, &notices, &incoming).await {
            // A lost ack costs one more look at a message that is gone.
            Ok(()) => drop(incoming.ack().await),
            Err(error) => {
                telemetry::error("deliver", "advisory");
                tracing::warn!(%error, "looking at an abandoned message again");
                incoming.nak(Some(PAUSE)).await;
            }
        }
    }
}

async fn follow(bus: &Bus, notices: &Notices, incoming: &Incoming) -> Result<(), Error> {
    let advisory = match Advisory::parse(incoming.payload()) {
        Ok(advisory) => advisory,
        Err(error) => {
            tracing::error!(%error, "an advisory cannot be read");
            return Ok(());
        }
    };
    let works = [Work::Message, Work::Retry, Work::Result];
    let Some(work) = works
        .into_iter()
        .find(|work| work.stream().as_str() == advisory.stream)
    else {
        return Ok(());
    };
    // What was terminated is gone: the node that did it has kept its bytes.
    let Some(stuck) = bus.exhausted_message(&advisory).await? else {
        return Ok(());
    };
    tracing::error!(
        stream = advisory.stream,
        sequence = advisory.sequence,
        "a message was never settled"
    );
    match work {
        Work::Result if !stuck.is_second && wire::decode_attempts(&stuck.payload).is_ok() => {
            bus.requeue_once(&stuck).await?;
        }
        Work::Message | Work::Retry => give_up(bus, notices, work, &advisory, &stuck).await?,
        _ => keep(bus, work, &advisory, &stuck).await?,
    }
    bus.remove_exhausted(&advisory).await
}

async fn give_up(
    bus: &Bus,
    notices: &Notices,
    work: Work,
    advisory: &Advisory,
    stuck: &ExhaustedMessage,
) -> Result<(), Error> {
    // The last node may have stopped after it left its chat queue: as if it was redelivered.
    let again = Redelivery::Again;
    let content = Content::read(bus, work, &stuck.payload, stuck.published_at).await?;
    match route(bus, content).await? {
        Route::Undecodable => keep(bus, work, advisory, stuck).await,
        Route::Unrouted => {
            telemetry::unrouted();
            Ok(())
        }
        Route::WebhookDeleted(delivery) => {
            bus.dequeue(&delivery, again).await?;
            record(bus, steps::webhook_deleted_record(delivery, now())).await
        }
        Route::To(delivery, webhook) if webhook.wants(&delivery.kind) => {
            letter(bus, advisory, delivery.clone()).await?;
            bus.dequeue(&delivery, again).await?;
            notices.dead_letter(&delivery);
            Ok(())
        }
        Route::To(delivery, _) => bus.dequeue(&delivery, again).await,
    }
}

async fn letter(bus: &Bus, advisory: &Advisory, delivery: Delivery) -> Result<(), Error> {
    let attempt = steps::abandoned_record(delivery, advisory.deliveries, now());
    let reason = attempt.error.clone().unwrap_or_default();
    let delivery = steps::after_attempt(&attempt.delivery);
    bus.dead_letter(&DeadLetter {
        delivery,
        reason,
        http_status: None,
        at: attempt.started_at,
    })
    .await?;
    telemetry::dead_letter(attempt.outcome.as_str());
    record(bus, attempt).await
}

async fn record(bus: &Bus, attempt: crate::model::Attempt) -> Result<(), Error> {
    let partition = bus.partition_of(attempt.delivery.client_id, &attempt.delivery.phone);
    bus.publish_results(partition, &[attempt]).await
}

async fn keep(
    bus: &Bus,
    work: Work,
    advisory: &Advisory,
    stuck: &ExhaustedMessage,
) -> Result<(), Error> {
    telemetry::error("deliver", "undecodable");
    bus.undecodable(
        work.stream(),
        advisory.sequence,
        &stuck.subject,
        &stuck.payload,
    )
    .await
}

fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}
