//! Tells deliver nodes which attempts are on record.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, time::timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{AttemptQuery, Bus},
    store::Store,
    tasks::{TaskKind, Tasks},
    telemetry,
};

/// AttemptQueries answered at once; more wait, and the node that asks gives up soon.
const AT_ONCE: usize = 32;
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) async fn run(bus: Bus, store: Arc<dyn Store>, tasks: Tasks, cancel: CancellationToken) {
    let mut questions = match bus.serve_attempt_queries().await {
        Ok(questions) => questions,
        Err(error) => {
            telemetry::error("record", "questions");
            tracing::error!(%error, "redelivered messages will be attempted again, whatever is on \
                record");
            return;
        }
    };
    let places = Arc::new(Semaphore::new(AT_ONCE));
    loop {
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            next = questions.next() => next,
        };
        let Some((question, answer)) = next else {
            return;
        };
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let store = Arc::clone(&store);
        tasks.once(TaskKind::AttemptQuery, async move {
            let _place = place;
            answer.send(is_recorded(&*store, question).await).await;
        });
    }
}

async fn is_recorded(store: &dyn Store, question: AttemptQuery) -> bool {
    let AttemptQuery {
        client_id,
        webhook_id,
        event_id,
        number,
    } = question;
    match timeout(PATIENCE, store.event(client_id, webhook_id, event_id)).await {
        Ok(Ok(Some(event))) => event
            .attempts
            .iter()
            .any(|attempt| attempt.number >= number),
        _ => false,
    }
}
