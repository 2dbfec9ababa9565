//! Asking the node that runs a session to send something, or to do something else.
//!
//! A plain request, not a stream: the sender wants to know now, and nobody wants a message sent
//! that has waited in a queue for hours.

use std::time::Duration;

use async_nats::{RequestErrorKind, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{
    Bus, Error,
    bucket::{Bucket, Raw},
};
use crate::{
    model::{ClientId, SendOutcome, SessionId, SessionRequest},
    wire::subject,
};

const SENDS: &str = "wa_sends";
/// Behind the hash of what was sent.
const SENT: &str = ":sent";
/// How often a key is claimed that others claim and release meanwhile.
const CLAIM_TRIES_MAX: usize = 16;

/// What is known of an idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SendClaim {
    /// It was not used before.
    New {
        /// To release it with.
        revision: u64,
    },
    /// It was.
    Known {
        /// For this.
        content_hash: String,
        /// Whether that is known to have been sent.
        is_sent: bool,
    },
}

/// Requests to send through one session.
pub struct SendRequests {
    bus: Bus,
    requests: Subscriber,
}

/// Where the answer goes.
pub struct SendReply {
    bus: Bus,
    inbox: async_nats::Subject,
}

impl SendRequests {
    /// The next one; `None` when the connection is closed for good.
    pub async fn next(&mut self) -> Option<(SessionRequest, SendReply)> {
        loop {
            let request = self.requests.next().await?;
            let (Some(inbox), Ok(wanted)) =
                (request.reply, serde_json::from_slice(&request.payload))
            else {
                tracing::error!("skipping a request to send that cannot be read");
                continue;
            };
            return Some((
                wanted,
                SendReply {
                    bus: self.bus.clone(),
                    inbox,
                },
            ));
        }
    }
}

impl SendReply {
    /// Answers the node that asked.
    pub async fn answer(self, outcome: &SendOutcome) {
        let bytes = serde_json::to_vec(outcome).expect("plain values have a JSON form");
        // If it is lost, the node that asked finds out by its deadline.
        let _ = self.bus.client.publish(self.inbox, bytes.into()).await;
    }
}

fn known_claim(stored: &[u8]) -> SendClaim {
    let stored = String::from_utf8_lossy(stored);
    let content_hash = stored.strip_suffix(SENT);
    SendClaim::Known {
        is_sent: content_hash.is_some(),
        content_hash: content_hash.unwrap_or(&stored).to_owned(),
    }
}

impl Bus {
    /// Asks a session for something; `None` when it is not known whether it was done.
    pub async fn ask_session(
        &self,
        client: ClientId,
        session: SessionId,
        wanted: &SessionRequest,
        answer_timeout: Duration,
    ) -> Result<Option<SendOutcome>, Error> {
        let bytes = serde_json::to_vec(wanted)?;
        let request = async_nats::Request::new()
            .payload(bytes.into())
            .timeout(Some(answer_timeout));
        match self
            .client
            .send_request(subject::send(client, session), request)
            .await
        {
            Ok(answer) => serde_json::from_slice(&answer.payload)
                .map(Some)
                .map_err(Error::from),
            Err(error) if error.kind() == RequestErrorKind::NoResponders => {
                Ok(Some(SendOutcome::NotConnected))
            }
            Err(error) if error.kind() == RequestErrorKind::TimedOut => Ok(None),
            Err(error) => Err(Error::from(error)),
        }
    }

    /// Takes the requests of a session that this node runs.
    pub async fn serve_sends(
        &self,
        client: ClientId,
        session: SessionId,
    ) -> Result<SendRequests, Error> {
        let requests = self
            .client
            .subscribe(subject::send(client, session))
            .await?;
        Ok(SendRequests {
            bus: self.clone(),
            requests,
        })
    }

    /// Notes what an idempotency key is used for, unless it was used before. Forgotten after a day.
    pub async fn claim_send(&self, key: &str, content_hash: &str) -> Result<SendClaim, Error> {
        let bucket = self.send_bucket().open().await?;
        let claim = Bytes::from(content_hash.to_owned());
        for _ in 0..CLAIM_TRIES_MAX {
            let claimed = timeout(self.settings.publish_deadline, bucket.create(key, &claim))
                .await
                .map_err(|_| Error::Timeout("answer to a claim"))??;
            if let Some(revision) = claimed {
                return Ok(SendClaim::New { revision });
            }
            // The key may be released between these two calls.
            if let Some(known) = bucket.get(key).await? {
                return Ok(known_claim(&known));
            }
        }
        Err(Error::Contended)
    }

    /// Notes that the message of a key was sent. After an error it is sent again, under the same
    /// id, when it is asked for again.
    pub async fn settle_send(&self, key: &str, content_hash: &str) -> Result<(), Error> {
        let settled = Bytes::from(format!("{content_hash}{SENT}"));
        self.send_bucket().put(key, &settled).await.map(drop)
    }

    /// Forgets a key whose message was not sent, unless it was used again since.
    pub async fn release_send(&self, key: &str, revision: u64) -> Result<(), Error> {
        self.send_bucket()
            .delete_revision(key, revision)
            .await
            .map(drop)
    }

    pub(super) fn send_bucket(&self) -> Bucket<Bytes, Raw> {
        self.buckets().bucket(SENDS, Raw)
    }
}
