//! Messages that reached `max_deliver`.
//!
//! Such a message stays in its stream, and its consumer does not see it any more. The server says
//! so in an advisory, which has the message's number and not the message itself.

use async_nats::{HeaderMap, header};
use bytes::Bytes;
use serde::Deserialize;

use super::{Bus, Error, StoredAs, Stream, stream::is_missing};
use crate::{model::Timestamp, telemetry};

const AGAIN: &str = "wa-again";

/// What the server says of one message that reached `max_deliver` or was terminated.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Advisory {
    /// The stream that has the message.
    pub stream: String,
    /// The consumer that delivers it no more.
    pub consumer: String,
    /// Its number in the stream.
    #[serde(rename = "stream_seq")]
    pub sequence: u64,
    /// How often it was delivered.
    pub deliveries: u64,
    /// Why it was terminated, if it was.
    #[serde(default)]
    pub reason: Option<String>,
    /// When it was given up, in RFC 3339.
    #[serde(default)]
    pub timestamp: Option<String>,
}

impl Advisory {
    /// Whether it is about a message that was stored then. A stream that is deleted and made again
    /// numbers from 1 again, and the advisory may be older than the message of its number.
    fn is_about(&self, stored_at: Timestamp) -> bool {
        let given_up_at = self.timestamp.as_deref().map(str::parse::<Timestamp>);
        !given_up_at.is_some_and(|at| at.is_ok_and(|at| at < stored_at))
    }

    /// From the JSON of the server.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }
}

/// A message that is in its stream and that no consumer delivers any more.
pub struct ExhaustedMessage {
    /// Its subject.
    pub subject: String,
    /// Its bytes.
    pub payload: Bytes,
    /// Which message of the stream it is.
    pub stored_as: StoredAs,
    /// The id under which it was published, if it had one.
    pub dedupe_id: Option<String>,
    /// Whether it was requeued before, see [`Bus::requeue_once`].
    pub is_second: bool,
}

impl Bus {
    /// The message that an advisory names; `None` when it is gone.
    pub async fn exhausted_message(
        &self,
        advisory: &Advisory,
    ) -> Result<Option<ExhaustedMessage>, Error> {
        let stream = self.context.get_stream_no_info(&advisory.stream).await?;
        let message = match stream.get_raw_message(advisory.sequence).await {
            Ok(message) => message,
            Err(error) if is_missing(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let stored_as = StoredAs {
            at: message.time.into(),
            sequence: message.sequence,
        };
        if !advisory.is_about(stored_as.at) {
            return Ok(None);
        }
        let dedupe_id = message.headers.get(header::NATS_MESSAGE_ID);
        let dedupe_id = dedupe_id.map(|id| id.as_str().to_owned());
        let is_second = message.headers.get(AGAIN).is_some();
        Ok(Some(ExhaustedMessage {
            subject: message.subject.to_string(),
            payload: message.payload,
            stored_as,
            dedupe_id,
            is_second,
        }))
    }

    /// Publishes an exhausted group of results once more: writing results twice does no harm.
    pub async fn requeue_once(&self, exhausted: &ExhaustedMessage) -> Result<(), Error> {
        let mut headers = HeaderMap::new();
        headers.insert(AGAIN, "1");
        self.publish(
            exhausted.subject.clone(),
            headers,
            exhausted.payload.to_vec(),
        )
        .await
        .map(drop)
    }

    /// Deletes an exhausted message from its stream, once its dead letter or copy is durable.
    pub async fn remove_exhausted(&self, advisory: &Advisory) -> Result<(), Error> {
        let stream = self.context.get_stream_no_info(&advisory.stream).await?;
        stream.delete_message(advisory.sequence).await?;
        telemetry::abandoned(stream_label(&advisory.stream));
        Ok(())
    }
}

/// Labels come from a fixed set.
fn stream_label(stream: &str) -> &'static str {
    [Stream::Messages, Stream::Retries, Stream::Results]
        .into_iter()
        .map(Stream::as_str)
        .find(|known| *known == stream)
        .unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_of_advisories_are_read() {
        let text = br#"{"type":"io.nats.jetstream.advisory.v1.max_deliver","id":"x",
            "timestamp":"2026-11-24T08:30:00Z",
            "stream":"WA_MSG","consumer":"deliver-03","stream_seq":7,"deliveries":10}"#;
        let advisory = Advisory::parse(text).expect("readable");
        assert_eq!(
            (
                advisory.stream.as_str(),
                advisory.sequence,
                advisory.deliveries
            ),
            ("WA_MSG", 7, 10)
        );
        let at = |text: &str| text.parse().expect("a time");
        assert!(advisory.is_about(at("2026-11-24T08:29:59Z")));
        assert!(
            !advisory.is_about(at("2026-11-24T08:30:01Z")),
            "a later one"
        );
        let text = br#"{"stream":"WA_RETRY","consumer":"retry-00","consumer_seq":1,
            "stream_seq":2,"deliveries":1,"reason":"undecodable"}"#;
        assert_eq!(
            Advisory::parse(text).expect("readable").reason.as_deref(),
            Some("undecodable")
        );
        assert!(Advisory::parse(b"{}").is_err());
    }
}
