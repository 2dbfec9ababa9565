//! Pulling work and settling it.

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

use async_nats::jetstream::{self, AckKind};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Bus, Error, Stream,
    feed::{Fed, Feed},
    incoming::{Incoming, NAK_PAUSE, Nak, confirm_nak},
};
use crate::telemetry;

/// When nothing has come for this long, the server is asked whether there is more.
const QUIET: Duration = Duration::from_millis(20);
const NAK_DEADLINE: Duration = Duration::from_secs(2);
/// How long the server may take to say that it has heard of the first NAK of many.
const HEARD_WITHIN: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// An election takes some seconds, and what waits should not wait much longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What kind of work a consumer brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Work {
    /// New messages, for `deliver`.
    Message,
    /// Due retries, for `deliver`.
    Retry,
    /// Groups of results, for `record`.
    Result,
    /// Advisories on messages that reached `max_deliver`, for `deliver`. It has one partition.
    Advisory,
}

impl Work {
    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        self.names().1
    }

    /// The stream that it comes from.
    pub fn stream(self) -> Stream {
        self.names().0
    }

    /// The stream, and the durable consumer of a partition.
    pub(super) fn consumer(self, partition: u16) -> (Stream, String) {
        let (stream, kind) = self.names();
        let is_one = self == Self::Advisory;
        (
            stream,
            if is_one {
                kind.to_owned()
            } else {
                format!("{kind}-{partition:02}")
            },
        )
    }

    fn names(self) -> (Stream, &'static str) {
        match self {
            Self::Message => (Stream::Messages, "deliver"),
            Self::Retry => (Stream::Retries, "retry"),
            Self::Result => (Stream::Results, "record"),
            Self::Advisory => (Stream::Advisories, "advisory"),
        }
    }
}

/// One partition's work. It reconnects by itself until cancelled.
pub struct Pull {
    bus: Bus,
    work: Work,
    partition: u16,
    cancel: CancellationToken,
    feed: Option<Feed>,
    /// Redelivered messages that came first, until all of them are here.
    collected: Vec<jetstream::Message>,
    /// In their order, to be given out before what the feed brings.
    ready: VecDeque<jetstream::Message>,
    /// Fetched and not given out, once nothing more is asked for.
    unstarted: Vec<jetstream::Message>,
    opened_at: Instant,
    pause: Duration,
    /// Whether this node is, as far as it knows, the one that the consumer feeds.
    pinned: bool,
    newly_pinned: bool,
}

impl Bus {
    /// Pulls one kind of work of one partition, until cancelled.
    pub fn pull(&self, work: Work, partition: u16, cancel: CancellationToken) -> Pull {
        Pull {
            bus: self.clone(),
            work,
            partition,
            cancel,
            feed: None,
            collected: Vec::new(),
            ready: VecDeque::new(),
            unstarted: Vec::new(),
            opened_at: Instant::now(),
            pause: FIRST_PAUSE,
            pinned: false,
            newly_pinned: false,
        }
    }
}

impl Pull {
    /// The next message; `None` once cancelled. Fetched messages that were not given out go back
    /// to the server then.
    pub async fn next(&mut self) -> Option<Incoming> {
        let cancel = self.cancel.clone();
        if self.feed.is_none() && !self.unstarted.is_empty() {
            self.give_back().await;
        }
        loop {
            let next = tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    self.release(Vec::new()).await;
                    return None;
                }
                next = self.fetch() => next,
            };
            match next {
                Ok(None) => {
                    self.pause = FIRST_PAUSE;
                    self.give_back().await;
                }
                Ok(Some(incoming)) => {
                    self.pause = FIRST_PAUSE;
                    self.newly_pinned |= !self.pinned;
                    self.pinned = true;
                    return Some(incoming);
                }
                Err(error) => {
                    let mut connections = self.bus.connections.subscribe();
                    self.give_back().await;
                    telemetry::error("bus", "pull");
                    let work = self.work.as_str();
                    tracing::warn!(work, partition = self.partition, %error, "pulling again");
                    tokio::select! {
                        () = cancel.cancelled() => {}
                        // A server that is new here may not be ready at once, but it will be soon.
                        _ = connections.changed() => self.pause = FIRST_PAUSE,
                        () = sleep(self.pause) => self.pause = (self.pause * 2).min(LONGEST_PAUSE),
                    }
                }
            }
        }
    }

    /// Whether the consumer has begun to feed this node since this was last asked.
    pub fn newly_pinned(&mut self) -> bool {
        mem::take(&mut self.newly_pinned)
    }

    /// A message that has arrived already; never waits.
    pub fn try_next(&mut self) -> Option<Incoming> {
        let message = match self.ready.pop_front() {
            Some(message) => message,
            None => self.feed.as_mut()?.ready()?,
        };
        Incoming::new(message, &self.bus.usage).ok()
    }

    /// The next message; `None` when there is a new connection.
    ///
    /// The first messages of a new feed may have been given back by the node before. The server
    /// hands them out before new ones, but not in their order. So they are collected and sorted
    /// before the first is given out.
    async fn fetch(&mut self) -> Result<Option<Incoming>, Error> {
        self.open_feed().await?;
        while self.ready.is_empty() {
            match self.next_fed().await? {
                Fed::Reconnected => return Ok(None),
                Fed::Nothing => self.sort_collected(),
                Fed::Message(message) if self.pinned => self.ready.push_back(message),
                Fed::Message(message) if message.info()?.delivered > 1 => {
                    self.collected.push(message);
                }
                Fed::Message(message) => {
                    self.sort_collected();
                    self.ready.push_back(message);
                }
            }
        }
        let message = self.ready.pop_front();
        message
            .map(|message| Incoming::new(message, &self.bus.usage))
            .transpose()
    }

    async fn open_feed(&mut self) -> Result<(), Error> {
        if self.feed.is_none() {
            let (stream, consumer) = self.work.consumer(self.partition);
            self.opened_at = Instant::now();
            self.feed = Some(Feed::open(&self.bus, stream, &consumer).await?);
        }
        Ok(())
    }

    /// What the feed brings next. While messages are collected, the server is asked whether there
    /// are more.
    async fn next_fed(&mut self) -> Result<Fed, Error> {
        let feed = self.feed.as_mut().ok_or(Error::Closed("the feed"))?;
        if self.collected.is_empty() || feed.is_probing() {
            return feed.next().await;
        }
        if let Ok(fed) = timeout(QUIET, feed.next()).await {
            return fed;
        }
        feed.probe().await?;
        feed.next().await
    }

    fn sort_collected(&mut self) {
        let mut collected = mem::take(&mut self.collected);
        sort(&mut collected);
        self.ready.extend(collected);
    }

    /// Whether some of the fetched messages may have been sent before then.
    pub fn is_older_than(&self, then: Instant) -> bool {
        self.opened_at < then
    }

    /// Gives back the fetched messages that were not started, and opens a new feed.
    pub async fn give_back(&mut self) {
        self.pinned = false;
        let mut unstarted = self.take_unstarted();
        if let Some(mut feed) = self.feed.take() {
            unstarted.extend(std::iter::from_fn(|| feed.ready()));
        }
        // Kept until then: should this be dropped while it waits, they are given back later.
        self.unstarted.clone_from(&unstarted);
        // Without a leader nobody hears of it, and nothing can be pulled either. What is not given
        // back by then comes by itself before long.
        let given_back_until = self.bus.settings.ack_wait / 2;
        let confirmed = timeout(given_back_until, nak_in_order(unstarted));
        tokio::select! {
            biased;
            _ = confirmed => {}
            () = cut_off(&self.cancel) => {}
        }
        self.unstarted.clear();
    }

    /// The same, together with one that was given out and not started.
    pub async fn give_back_with(&mut self, incoming: Incoming) {
        self.unstarted.push(incoming.into_message());
        self.give_back().await;
    }

    /// The fetched messages that were not given out and have left the feed.
    fn take_unstarted(&mut self) -> Vec<jetstream::Message> {
        let mut unstarted = mem::take(&mut self.unstarted);
        unstarted.extend(self.ready.drain(..));
        unstarted.append(&mut self.collected);
        unstarted
    }

    /// Drops the fetched messages, unsettled.
    pub fn forget(&mut self) {
        self.feed = None;
        self.pinned = false;
        self.take_unstarted();
    }

    /// Asks for no more messages, and returns once none can come. This takes a second at most while
    /// the server answers. To be followed by [`Self::release`]; until then no other node is fed.
    pub async fn stop(&mut self) {
        if let Some(feed) = &mut self.feed {
            self.unstarted.extend(feed.drain().await);
        }
    }

    /// Gives back the fetched messages that were not started, and `returned`, which were. Then it
    /// gives up the pin, so that another node goes on at once and gets all of them first.
    pub async fn release(&mut self, returned: Vec<Incoming>) {
        self.stop().await;
        let mut messages = self.take_unstarted();
        messages.extend(returned.into_iter().map(|incoming| incoming.into_message()));
        let given_back = timeout(NAK_DEADLINE, nak_in_order(messages)).await;
        let is_confirmed = given_back.unwrap_or(false);
        self.pinned = false;
        let Some(feed) = self.feed.take() else { return };
        if !is_confirmed {
            let work = self.work.as_str();
            let partition = self.partition;
            tracing::warn!(
                work,
                partition,
                "the server did not confirm what was given back"
            );
            // Its pin runs out by itself, in a few seconds. The messages may be back by then.
            return;
        }
        let (stream, consumer) = self.work.consumer(self.partition);
        feed.end(stream, &consumer).await;
    }
}

/// When a node that stops gives up to give messages back.
async fn cut_off(cancel: &CancellationToken) {
    cancel.cancelled().await;
    sleep(NAK_DEADLINE).await;
}

/// In the order of their stream.
fn sort(messages: &mut [jetstream::Message]) {
    messages.sort_by_key(|message| message.info().map_or(0, |info| info.stream_sequence));
}

/// Gives messages back in the order of their stream. Whether the server has confirmed it; while
/// their consumer has no leader, it is done again, since a lost NAK costs `ack_wait`.
async fn nak_in_order(mut messages: Vec<jetstream::Message>) -> bool {
    sort(&mut messages);
    loop {
        match nak_all(&messages).await {
            Nak::Confirmed => return true,
            Nak::Unknown => return false,
            Nak::Unheard => sleep(NAK_PAUSE).await,
        }
    }
}

/// The server handles the acknowledgements of a consumer in the order in which they come. So its
/// word on the first one says that there is a leader, and that on the last one stands for all.
/// Without a word all are sent, too: it may be on its way.
async fn nak_all(messages: &[jetstream::Message]) -> Nak {
    let Some((first, others)) = messages.split_first() else {
        return Nak::Confirmed;
    };
    let heard = timeout(HEARD_WITHIN, confirm_nak(first, None)).await;
    let heard = heard.unwrap_or(Nak::Unknown);
    let Some((last, between)) = others.split_last().filter(|_| heard != Nak::Unheard) else {
        return heard;
    };
    for message in between {
        if message.ack_with(AckKind::Nak(None)).await.is_err() {
            return Nak::Unknown;
        }
    }
    confirm_nak(last, None).await
}
