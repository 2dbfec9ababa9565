//! Asking what is on record.
//!
//! A plain request: the answer saves an attempt that was made already. A node that gets no answer
//! makes the attempt.

use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;

use super::{Bus, Error};
use crate::{
    model::{ClientId, Delivery, EventId, WebhookId},
    wire::subject,
};

/// Nodes that can answer share the questions.
const GROUP: &str = "record";
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Was this attempt made?
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AttemptQuery {
    /// Whose it is.
    pub client_id: ClientId,
    /// Where it went.
    pub webhook_id: WebhookId,
    /// What was delivered.
    pub event_id: EventId,
    /// The attempt, counted from 1.
    pub number: u16,
}

/// AttemptQueries of other nodes.
pub struct AttemptQueries {
    bus: Bus,
    requests: Subscriber,
}

/// Where the answer goes.
pub struct Reply {
    bus: Bus,
    inbox: async_nats::Subject,
}

impl Bus {
    /// Whether the next attempt of a delivery is on record already. False, too, when nobody can say
    /// in time.
    pub async fn is_recorded(&self, delivery: &Delivery) -> bool {
        let question = AttemptQuery {
            client_id: delivery.client_id,
            webhook_id: delivery.webhook_id,
            event_id: delivery.event_id,
            number: delivery.attempt_count.saturating_add(1),
        };
        let Ok(bytes) = serde_json::to_vec(&question) else {
            return false;
        };
        let request = async_nats::Request::new()
            .payload(bytes.into())
            .timeout(Some(ANSWER_TIMEOUT));
        let answer = self.client.send_request(subject::RECORDED, request).await;
        answer.is_ok_and(|answer| &answer.payload[..] == b"true")
    }

    /// Takes part in answering.
    pub async fn serve_attempt_queries(&self) -> Result<AttemptQueries, Error> {
        let requests = self
            .client
            .queue_subscribe(subject::RECORDED, GROUP.to_owned())
            .await?;
        Ok(AttemptQueries {
            bus: self.clone(),
            requests,
        })
    }
}

impl AttemptQueries {
    /// The next one; `None` when the connection is closed for good.
    pub async fn next(&mut self) -> Option<(AttemptQuery, Reply)> {
        loop {
            let request = self.requests.next().await?;
            let (Some(inbox), Ok(question)) =
                (request.reply, serde_json::from_slice(&request.payload))
            else {
                tracing::error!("skipping a question that cannot be read");
                continue;
            };
            return Some((
                question,
                Reply {
                    bus: self.bus.clone(),
                    inbox,
                },
            ));
        }
    }
}

impl Reply {
    /// Answers the node that asked.
    pub async fn send(self, recorded: bool) {
        let _ = self
            .bus
            .client
            .publish(self.inbox, recorded.to_string().into())
            .await;
    }
}
