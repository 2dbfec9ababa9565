//! The sizes of stored messages, read in batches without their bodies.

use std::time::Duration;

use async_nats::jetstream::{
    consumer::{AckPolicy, PullConsumer},
    stream::Stream as Handle,
};
use futures_util::StreamExt;
use tokio::time::timeout;

use super::{Bus, Error, Stream, stream::reader};
use crate::wire::subject;

/// What is parked, in [`Stream::Retries`].
pub(super) const PARKED: &str = "wa.park.>";
/// The name of the consumer that reads them. One node at a time counts, and the server's
/// permissions allow this name alone: by another a role could change the consumers that deliver.
const PARKED_READER: &str = "recount";
/// In messages of a consumer that gets headers alone.
const SIZE: &str = "Nats-Msg-Size";
/// Messages of one read.
const BATCH: usize = 1000;
/// How long one read may take, and the server keeps the reader.
const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// One message that counts for a client.
pub(super) struct Stored {
    pub(super) subject: String,
    pub(super) bytes: i64,
    /// Its number in the stream.
    pub(super) sequence: u64,
}

/// Reads the sizes of the messages under a filter.
pub(super) struct Sizes {
    handle: Handle<()>,
    consumer: PullConsumer,
    is_end: bool,
}

impl Bus {
    /// Begins with the oldest message.
    pub(super) async fn sizes(&self, stream: Stream, filter: &str) -> Result<Sizes, Error> {
        let handle = self.stream(stream).await?;
        let mut config = reader(filter.to_owned(), READ_TIMEOUT);
        config.headers_only = true;
        if stream == Stream::Retries {
            // A stream of work has no others. What is not acknowledged stays.
            config.ack_policy = AckPolicy::Explicit;
            config.max_ack_pending = -1;
            config.num_replicas = 0;
            config.name = Some(PARKED_READER.to_owned());
            // One that was left would go on where it was.
            let _ = handle.delete_consumer(PARKED_READER).await;
        }
        Ok(Sizes {
            consumer: handle.create_consumer(config).await?,
            handle,
            is_end: false,
        })
    }
}

impl Sizes {
    /// The next ones; `None` once all were read that there were.
    ///
    /// # Errors
    /// When the bus does not answer: begin again.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<Stored>>, Error> {
        if self.is_end {
            return Ok(None);
        }
        let read = async {
            let batch = self.consumer.fetch().max_messages(BATCH).messages();
            let mut messages = batch.await?;
            let mut all = Vec::new();
            let mut count = 0;
            while let Some(message) = messages.next().await {
                let message = message?;
                count += 1;
                if subject::counted(&message.subject).is_some() {
                    let sequence = message.info()?.stream_sequence;
                    let bytes = size(&message);
                    all.push(Stored {
                        subject: message.subject.to_string(),
                        bytes,
                        sequence,
                    });
                }
            }
            Ok::<_, Error>((all, count))
        };
        let (all, count) = timeout(READ_TIMEOUT, read)
            .await
            .map_err(|_| Error::Timeout("sizes of messages"))??;
        self.is_end = count < BATCH;
        Ok(Some(all))
    }

    /// Ends the reader, which the server would keep for a while.
    pub(super) async fn end(self) {
        let name = &self.consumer.cached_info().name;
        if let Err(error) = self.handle.delete_consumer(name).await {
            tracing::debug!(%error, "the server deletes the counting consumer by itself");
        }
    }
}

/// The size of a message of which the headers came alone.
fn size(message: &async_nats::Message) -> i64 {
    let header = message
        .headers
        .as_ref()
        .and_then(|headers| headers.get_last(SIZE));
    header
        .and_then(|size| size.as_str().parse().ok())
        .unwrap_or(0)
}
