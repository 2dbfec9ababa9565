//! Notices about deliveries for the client's operational webhook.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use serde_json::{Map, Value, json};
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::{
    bus::{Bus, Error},
    model::{ClientId, Delivery, DisabledReason, NoticeKind, Phone, Timestamp, Webhook},
    telemetry,
};

/// How often the dead letters of clients with new ones are counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(5);
/// Over which time dead letters are counted, and how long no further notice follows one.
const WINDOW: Duration = Duration::from_secs(60 * 60);
/// Clients noted between two counts. A client beyond that is noted with its next dead letter.
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

    /// Notifies that a webhook was disabled. A notice that cannot be published within the deadline
    /// is lost: the webhook's status still shows it.
    pub(super) async fn disabled(&self, webhook: &Webhook, reason: DisabledReason) {
        // The operational webhook cannot receive a notice that it is disabled itself.
        if webhook.operations.is_some() {
            return;
        }
        let data =
            json!({"webhook_id": webhook.id, "phone_number": webhook.phone, "reason": reason});
        let dedupe_key = format!("{} {}", webhook.id, webhook.updated_at);
        self.notify(
            webhook.client_id,
            NoticeKind::EndpointDisabled,
            webhook.updated_at,
            data,
            &dedupe_key,
        )
        .await;
    }

    /// Notes that a delivery was given up.
    pub(super) fn dead_letter(&self, delivery: &Delivery) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if !delivery.phone.is_operational() && noted.len() < NOTED_MAX {
            noted.insert(delivery.client_id);
        }
    }

    /// Counts the dead letters of noted clients until cancelled, and once more then.
    pub(super) async fn run(&self, cancel: CancellationToken) {
        let mut ticks = interval(COUNT_INTERVAL);
        loop {
            let is_last = tokio::select! {
                _ = ticks.tick() => false,
                () = cancel.cancelled() => true,
            };
            let noted =
                std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner));
            for client in noted {
                if let Err(error) = self.count(client).await {
                    tracing::warn!(%error, client.id = %client, "dead letters are counted again \
                        with the next one");
                }
            }
            if is_last {
                return;
            }
        }
    }

    async fn count(&self, client: ClientId) -> Result<(), Error> {
        let now = self.bus.now();
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
        // Several nodes may count the same. The first one to write this sends the notice.
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
            self.notify(client, NoticeKind::DeadLetters, now, data, &now.to_string())
                .await;
        }
        Ok(())
    }

    async fn notify(
        &self,
        client: ClientId,
        kind: NoticeKind,
        at: Timestamp,
        data: Value,
        dedupe_key: &str,
    ) {
        let Value::Object(data) = data else { return };
        let data = Map::from_iter(data);
        let published = self.bus.notify(client, kind, at, data, dedupe_key).await;
        if let Err(error) = published {
            telemetry::error("deliver", "notice");
            let kind = kind.as_str();
            tracing::warn!(%error, client.id = %client, notice.kind = kind, "a notice is lost");
        }
    }
}
