//! Puts messages that the server has given up into the dead letters.
//!
//! It gives one up after ten deliveries without an answer: the nodes died, or the bus failed. The
//! dead letter says that the endpoint is not to blame. Each step may be repeated without harm, and
//! the advisory is acknowledged after all of them.

use std::{sync::Arc, time::Duration};

use super::{
    arrival::{Content, Encoded},
    notices::Notices,
    route::{Route, route},
    steps,
};
use crate::{
    bus::{Advisory, Bus, Error, ExhaustedMessage, Incoming, Pull, Redelivery, Work},
    telemetry, wire,
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
        Work::Result if !stuck.is_second => results(bus, &stuck).await?,
        Work::Message | Work::Retry => give_up(bus, notices, work, &advisory, &stuck).await?,
        _ => keep(bus, work, &stuck).await?,
    }
    bus.remove_exhausted(&advisory).await
}

/// Publishes a group of results once more, one by one if it is too large for that.
async fn results(bus: &Bus, stuck: &ExhaustedMessage) -> Result<(), Error> {
    let Ok(attempts) = wire::decode_attempts(&stuck.payload) else {
        return keep(bus, Work::Result, stuck).await;
    };
    match bus.requeue_once(stuck).await {
        Err(Error::TooLarge) => {
            for attempt in attempts {
                bus.publish_result(attempt).await?;
            }
            Ok(())
        }
        requeued => requeued,
    }
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
    let encoded = Encoded {
        work,
        payload: &stuck.payload,
        stored_at: stuck.stored_as.at,
        dedupe_id: stuck.dedupe_id.as_deref(),
    };
    let content = Content::read(bus, encoded).await?;
    match route(bus, content).await? {
        Route::Undecodable => keep(bus, work, stuck).await,
        Route::Unrouted => {
            telemetry::unrouted();
            Ok(())
        }
        Route::WebhookDeleted(delivery) => {
            bus.dequeue(&delivery, again).await?;
            bus.publish_result(steps::webhook_deleted_record(delivery, bus.now()))
                .await
        }
        Route::To(delivery, webhook) if webhook.wants(&delivery.kind) => {
            let record = steps::abandoned_record(delivery.clone(), advisory.deliveries, bus.now());
            bus.give_up(record).await?;
            bus.dequeue(&delivery, again).await?;
            notices.dead_letter(&delivery);
            Ok(())
        }
        Route::To(delivery, _) => {
            bus.dequeue(&delivery, again).await?;
            bus.publish_result(steps::unwanted_record(delivery, bus.now()))
                .await
        }
    }
}

async fn keep(bus: &Bus, work: Work, stuck: &ExhaustedMessage) -> Result<(), Error> {
    telemetry::error("deliver", "undecodable");
    bus.undecodable(
        work.stream(),
        stuck.stored_as,
        &stuck.subject,
        &stuck.payload,
    )
    .await
}
