//! What deliveries have to tell the client's operational webhook.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use serde_json::{Map, Value, json};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{Bus, Error},
    model::{ClientId, Delivery, DisabledReason, NoticeKind, Phone, Timestamp, Webhook},
    telemetry,
};

/// How often clients with new dead letters are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Over which time dead letters are counted, and how long no further notice of them follows one.
const WINDOW: Duration = Duration::from_secs(60 * 60);
/// Clients noted between two looks; a client beyond has its turn with its next dead letter.
const NOTED_MAX: usize = 65_536;

/// Shared by all loops of a node.
pub(super) struct Notices {
    bus: Bus,
    noted: Mutex<HashSet<ClientId>>,
}

impl Notices {
    pub(super) fn new(bus: Bus) -> Self {
        Self {
            bus,
            noted: Mutex::default(),
        }
    }

    /// A webhook was stopped. What cannot be told within the publish's deadline is lost: the
    /// webhook's status still shows it.
    pub(super) async fn disabled(&self, webhook: &Webhook, reason: DisabledReason) {
        // The operational webhook cannot tell that it is disabled itself.
        if webhook.operations.is_some() {
            return;
        }
        let data =
            json!({"webhook_id": webhook.id, "phone_number": webhook.phone, "reason": reason});
        let once = format!("{} {}", webhook.id, webhook.updated_at);
        self.tell(
            webhook.client_id,
            NoticeKind::EndpointDisabled,
            webhook.updated_at,
            data,
            &once,
        )
        .await;
    }

    /// A delivery was given up.
    pub(super) fn dead_letter(&self, delivery: &Delivery) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if !delivery.phone.is_operational() && noted.len() < NOTED_MAX {
            noted.insert(delivery.client_id);
        }
    }

    /// Looks at noted clients until cancelled, and once more then.
    pub(super) async fn run(&self, cancel: CancellationToken) {
        let mut ticks = interval(LOOK_EVERY);
        loop {
            let is_last = tokio::select! {
                _ = ticks.tick() => false,
                () = cancel.cancelled() => true,
            };
            let noted =
                std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner));
            for client in noted {
                if let Err(error) = self.look(client).await {
                    tracing::warn!(%error, client.id = %client, "dead letters are counted again \
                        with the next one");
                }
            }
            if is_last {
                return;
            }
        }
    }

    async fn look(&self, client: ClientId) -> Result<(), Error> {
        let now = Timestamp::from_system(SystemTime::now());
        let since = Timestamp::from_millis(
            now.millis() - i64::try_from(WINDOW.as_millis()).unwrap_or(i64::MAX),
        );
        let is_due = |webhook: &Webhook| {
            webhook.operations.as_ref().is_some_and(|operations| {
                operations.events.contains(&NoticeKind::DeadLetters)
                    && operations
                        .dead_letters_notified_at
                        .is_none_or(|at| at < since)
            })
        };
        let Some(webhook) = self
            .bus
            .webhooks()
            .by_phone(client, &Phone::operational())
            .await?
        else {
            return Ok(());
        };
        let threshold = webhook
            .operations
            .as_ref()
            .map_or(u32::MAX, |operations| operations.dead_letter_threshold);
        if !is_due(&webhook) {
            return Ok(());
        }
        let count = self.bus.dead_letters_since(client, since).await?;
        if count < u64::from(threshold) {
            return Ok(());
        }
        // Of all nodes that see it the first one to write this tells it.
        let mut is_first = false;
        let mark = |webhook: &mut Webhook| {
            is_first = is_due(webhook);
            if let Some(operations) = webhook.operations.as_mut().filter(|_| is_first) {
                operations.dead_letters_notified_at = Some(now);
            }
        };
        self.bus.webhooks().update(client, webhook.id, mark).await?;
        if is_first {
            let data = json!({"count": count, "threshold": threshold, "since": since.to_string()});
            self.tell(client, NoticeKind::DeadLetters, now, data, &now.to_string())
                .await;
        }
        Ok(())
    }

    async fn tell(
        &self,
        client: ClientId,
        operation: NoticeKind,
        at: Timestamp,
        data: Value,
        once: &str,
    ) {
        let Value::Object(data) = data else { return };
        let told: Result<bool, Error> = self
            .bus
            .notify(client, operation, at, Map::from_iter(data), once)
            .await;
        if let Err(error) = told {
            telemetry::error("deliver", "notice");
            tracing::warn!(%error, client.id = %client, operation = operation.as_str(), "a notice \
                is lost");
        }
    }
}
