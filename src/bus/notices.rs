//! Telling a client what happened to its own webhooks and sessions, through its operational
//! webhook.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{Bus, Error, Stream};
use crate::{
    model::{ClientId, Kind, Message, NoticeKind, Phone, Timestamp},
    wire::{self, subject},
};

/// How long the server keeps a consumer that only counts, should it not be deleted.
const COUNTER_TTL: Duration = Duration::from_secs(10);

impl Bus {
    /// Publishes a notice, if the client has an operational webhook that asks for it. From then on
    /// it is delivered like any message. The same `once` within the stream's duplicate window is
    /// one notice.
    ///
    /// # Errors
    /// When the bus does not answer, or the stream is full.
    pub async fn notify(
        &self,
        client_id: ClientId,
        operation: NoticeKind,
        at: Timestamp,
        data: Map<String, Value>,
        once: &str,
    ) -> Result<bool, Error> {
        let phone = Phone::operational();
        let webhook = self.webhooks().by_phone(client_id, &phone).await?;
        let wanted = webhook.and_then(|webhook| webhook.operations.clone());
        if !wanted.is_some_and(|wanted| wanted.events.contains(&operation)) {
            return Ok(false);
        }
        let id = wire::dedupe_id(&[
            &client_id.to_string(),
            "operation",
            operation.as_str(),
            once,
        ]);
        let message = Message {
            client_id,
            phone,
            message_id: id.parse().expect("hex digits make an id"),
            chat: operation.as_str().to_owned(),
            from: "wahook".to_owned(),
            to: "wahook".to_owned(),
            timestamp: at,
            kind: Kind::Operational,
            content: operation.as_str().to_owned(),
            metadata: data,
            metadata_json: None,
        };
        self.publish_message_as(&message, &id).await.map(|_| true)
    }

    /// How many of a client's deliveries were given up since then: what a consumer would get that
    /// begins there.
    pub async fn dead_letters_since(
        &self,
        client: ClientId,
        since: Timestamp,
    ) -> Result<u64, Error> {
        let request = json!({
            "stream_name": Stream::DeadLetters.as_str(),
            "config": {
                "filter_subject": subject::dead_letters_of(client), "ack_policy": "none",
                "mem_storage": true,
                "deliver_policy": "by_start_time", "opt_start_time": since.to_string(),
                "num_replicas": 1,
                "inactive_threshold": u64::try_from(COUNTER_TTL.as_nanos()).unwrap_or(u64::MAX),
            },
        });
        let made: Value = self
            .context
            .request(format!("CONSUMER.CREATE.{}", Stream::DeadLetters), &request)
            .await?;
        let name = made["name"]
            .as_str()
            .ok_or_else(|| Error::Refused(made["error"]["description"].to_string()))?;
        let count = made["num_pending"].as_u64().unwrap_or_default();
        // Not `context.request`: it sends `null`, and a consumer is deleted with no body at all.
        let delete = self.client.request(
            self.api_subject(format_args!(
                "CONSUMER.DELETE.{}.{name}",
                Stream::DeadLetters
            )),
            Bytes::new(),
        );
        if let Err(error) = delete.await {
            tracing::debug!(%error, consumer = name, "the server deletes the counting consumer by \
                itself");
        }
        Ok(count)
    }
}
