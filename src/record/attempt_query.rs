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

/// Queries answered at once; more wait, and the node that asks gives up soon.
const CONCURRENCY_MAX: usize = 32;
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

pub(super) async fn run(bus: Bus, store: Arc<dyn Store>, tasks: Tasks, cancel: CancellationToken) {
    let mut queries = match bus.serve_attempt_queries().await {
        Ok(queries) => queries,
        Err(error) => {
            telemetry::error("record", "questions");
            tracing::error!(
                %error,
                "redelivered messages will be attempted again, even if an attempt is on record"
            );
            return;
        }
    };
    let permits = Arc::new(Semaphore::new(CONCURRENCY_MAX));
    loop {
        let next = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            next = queries.next() => next,
        };
        let Some((query, reply)) = next else {
            return;
        };
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let store = Arc::clone(&store);
        tasks.once(TaskKind::AttemptQuery, async move {
            let _permit = permit;
            reply.send(is_recorded(&*store, query).await).await;
        });
    }
}

async fn is_recorded(store: &dyn Store, query: AttemptQuery) -> bool {
    let AttemptQuery {
        client_id,
        webhook_id,
        event_id,
        number,
    } = query;
    match timeout(STORE_TIMEOUT, store.event(client_id, webhook_id, event_id)).await {
        Ok(Ok(Some(event))) => event
            .attempts
            .iter()
            .any(|attempt| attempt.number >= number),
        _ => false,
    }
}
