//! What a bucket's stream brings to one watch: a consumer of its own, fed by the server.
//!
//! async-nats has watches. They notice a dead consumer by ten seconds of silence, and after a
//! reconnect they make another one under a name of their choice. A role has no permission to do so:
//! who may choose a name may also change other consumers. This feed ends instead.

use std::time::Duration;

use async_nats::{
    HeaderMap, HeaderValue, Message, StatusCode, Subscriber, header,
    jetstream::{
        self,
        consumer::{AckPolicy, DeliverPolicy, push},
        kv,
    },
};
use bytes::Bytes;
use futures_util::StreamExt;
use time::OffsetDateTime;
use tokio::time::{Instant, timeout, timeout_at};

use super::Error;

/// What the server sends when there is no change.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// A consumer that is silent for so long is gone: its server died, or it was deleted.
const DEAF_AFTER: Duration = Duration::from_millis(1500);
/// How long the server keeps the consumer after its watch has ended.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// How long the first tries to make the consumer may take; the last one has the time of any
/// request. For a while after a server died, the others give it one consumer in three: then no
/// answer comes.
const MADE_WITHIN: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
const OPERATION: &str = "KV-Operation";

/// An open feed.
pub(super) struct KeyFeed {
    context: jetstream::Context,
    subscriber: Subscriber,
    /// What stands before a key in its subject.
    prefix: String,
    /// The number of the last message that came.
    last: u64,
    heard_at: Instant,
}

/// Which key changed, and when.
pub(super) struct Change {
    pub(super) key: String,
    pub(super) revision: u64,
    /// By the server's clock.
    pub(super) created: OffsetDateTime,
}

/// What came.
pub(super) struct Fed {
    pub(super) change: Change,
    /// `None`: the key was deleted.
    pub(super) value: Option<Bytes>,
    /// How many more there are.
    pub(super) pending: u64,
}

impl KeyFeed {
    /// Begins with the newest value of each key that matches the filter.
    pub(super) async fn open(
        context: jetstream::Context,
        store: &kv::Store,
        filter: &str,
    ) -> Result<Self, Error> {
        let prefix = store.prefix.clone();
        let filter = format!("{prefix}{filter}");
        let mut made = None;
        for limit in MADE_WITHIN {
            let making = subscribe(&context, &store.stream_name, &filter);
            made = timeout(limit, making).await.ok().transpose()?;
            if made.is_some() {
                break;
            }
        }
        let subscriber = match made {
            Some(subscriber) => subscriber,
            None => subscribe(&context, &store.stream_name, &filter).await?,
        };
        Ok(Self {
            context,
            subscriber,
            prefix,
            last: 0,
            heard_at: Instant::now(),
        })
    }

    /// What comes next. Nothing is lost when this is dropped while it waits.
    ///
    /// # Errors
    /// When something was lost, or the server is silent.
    pub(super) async fn next(&mut self) -> Result<Fed, Error> {
        loop {
            // What has come already goes before the deadline.
            let came = timeout_at(self.heard_at + DEAF_AFTER, self.subscriber.next()).await;
            let message = came.map_err(|_| Error::Timeout("sign of life of a watch"))?;
            let message = message.ok_or(Error::Closed("the connection of a watch"))?;
            self.heard_at = Instant::now();
            if message.status.is_some() {
                self.note_status(message).await?;
            } else {
                return self.take(message);
            }
        }
    }

    async fn note_status(&self, message: Message) -> Result<(), Error> {
        if message.status != Some(StatusCode::IDLE_HEARTBEAT) {
            return Err(Error::Closed("the consumer of a watch"));
        }
        // Flow control: the server waits for an answer.
        if let Some(reply) = message.reply {
            self.context.client().publish(reply, Bytes::new()).await?;
            return Ok(());
        }
        let sent = last_header(
            message.headers.as_ref(),
            header::NATS_LAST_CONSUMER.as_ref(),
        );
        match sent.and_then(|sent| sent.as_str().parse::<u64>().ok()) {
            Some(sent) if sent != self.last => Err(Error::Closed("the order of a watch")),
            _ => Ok(()),
        }
    }

    fn take(&mut self, message: Message) -> Result<Fed, Error> {
        let message = jetstream::Message {
            message,
            context: self.context.clone(),
        };
        let info = message.info()?;
        if info.consumer_sequence != self.last + 1 {
            return Err(Error::Closed("the order of a watch"));
        }
        let key = message.subject.strip_prefix(&self.prefix);
        let change = Change {
            key: key.unwrap_or_default().to_owned(),
            revision: info.stream_sequence,
            created: info.published,
        };
        let pending = info.pending;
        self.last = info.consumer_sequence;
        let is_put = is_put(message.headers.as_ref());
        Ok(Fed {
            change,
            value: is_put.then(|| message.payload.clone()),
            pending,
        })
    }
}

/// Makes a consumer, and listens to it. Without a listener the server drops one soon.
async fn subscribe(
    context: &jetstream::Context,
    stream: &str,
    filter: &str,
) -> Result<Subscriber, Error> {
    let inbox = context.client().new_inbox();
    // First: what comes before anybody listens is lost.
    let subscriber = context.client().subscribe(inbox.clone()).await?;
    let config = push::Config {
        deliver_subject: inbox,
        description: Some("wahook: a watch".to_owned()),
        filter_subject: filter.to_owned(),
        deliver_policy: DeliverPolicy::LastPerSubject,
        ack_policy: AckPolicy::None,
        max_deliver: 1,
        flow_control: true,
        idle_heartbeat: HEARTBEAT,
        inactive_threshold: KEPT_FOR,
        num_replicas: 1,
        memory_storage: true,
        ..push::Config::default()
    };
    context.create_consumer_on_stream(config, stream).await?;
    Ok(subscriber)
}

/// A deletion says so; one by the server, for age or on request, has a reason.
fn is_put(headers: Option<&HeaderMap>) -> bool {
    match last_header(headers, OPERATION) {
        Some(operation) => operation.as_str() == "PUT",
        None => last_header(headers, header::NATS_MARKER_REASON.as_ref()).is_none(),
    }
}

fn last_header<'a>(headers: Option<&'a HeaderMap>, name: &str) -> Option<&'a HeaderValue> {
    headers?.get_last(name)
}
