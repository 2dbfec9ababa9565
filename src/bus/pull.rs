//! Pulling work and settling it.

mod release;

use std::{
    collections::VecDeque,
    mem,
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::jetstream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{
    Bus, Error, Membership, Work,
    feed::{Fed, Feed},
    give_back::sort,
    in_hand::InHand,
    incoming::Incoming,
    reclaim::{Follows, Seen},
};
use crate::telemetry;

/// When nothing has come for this long, the server is asked whether there is more.
const QUIET: Duration = Duration::from_millis(20);
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// An election takes some seconds, and what waits should not wait much longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

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
    /// The server's name for this node in the feed before.
    pin: Option<String>,
    seen: Seen,
    in_hand: Arc<InHand>,
    membership: Option<Membership>,
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
            pin: None,
            seen: Seen::default(),
            in_hand: Arc::default(),
            membership: None,
        }
    }
}

impl Pull {
    /// With the membership by which others take this node's partitions when it is silent.
    #[must_use]
    pub fn of_member(self, membership: Membership) -> Self {
        Self {
            membership: Some(membership),
            ..self
        }
    }

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
                    if matches!(error, Error::NeverCame) {
                        // What is asked for would come to nobody, too.
                        self.stop().await;
                    }
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
            None => {
                let message = self.feed.as_mut()?.ready()?;
                self.seen.note(&message);
                message
            }
        };
        Incoming::new(message, &self.bus.usage, &self.in_hand).ok()
    }

    /// The next message; `None` when there is a new connection.
    ///
    /// The first messages of a new feed may have been given back by the node before. The server
    /// hands them out before new ones, but not in their order. So they are collected and sorted
    /// before the first is given out.
    async fn fetch(&mut self) -> Result<Option<Incoming>, Error> {
        self.open_feed().await?;
        while self.ready.is_empty() {
            let fed = self.next_fed().await?;
            if let Fed::Message(message) = &fed
                && self.note(message) == Follows::No
                && self.work.is_delivered()
            {
                self.collected.extend(fed.into_message());
                return Err(Error::NeverCame);
            }
            match fed {
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
            .map(|message| Incoming::new(message, &self.bus.usage, &self.in_hand))
            .transpose()
    }

    /// Notes a message. It follows on nothing where others may have been fed before it.
    fn note(&mut self, message: &jetstream::Message) -> Follows {
        if let Some(membership) = &self.membership {
            let is_known = membership.is_current() && self.seen.is_of_term(membership.term());
            if !is_known {
                self.seen.forget();
                self.seen.check_term(membership.term());
            }
        }
        self.seen.note(message)
    }

    async fn open_feed(&mut self) -> Result<(), Error> {
        if self.feed.is_none() {
            let (stream, consumer) = self.work.consumer(self.partition);
            self.opened_at = Instant::now();
            let feed = Feed::open(&self.bus, stream, &consumer, self.pin.clone()).await?;
            if let Some(membership) = &self.membership {
                membership.current().await;
                self.seen.check_term(membership.term());
            }
            self.bus
                .reclaim(self.work, self.partition, &mut self.seen, &self.in_hand)
                .await?;
            self.feed = Some(feed);
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

    /// The fetched messages that were not given out and have left the feed.
    fn take_unstarted(&mut self) -> Vec<jetstream::Message> {
        let mut unstarted = mem::take(&mut self.unstarted);
        unstarted.extend(self.ready.drain(..));
        unstarted.append(&mut self.collected);
        unstarted
    }

    /// Drops the fetched messages, unsettled.
    pub fn forget(&mut self) {
        self.pinned = false;
        self.seen.was_silent = true;
        self.take_unstarted();
        self.close_feed();
    }

    /// What has arrived and was not taken from the feed, which ends here.
    fn close_feed(&mut self) -> Vec<jetstream::Message> {
        let Some(mut feed) = self.feed.take() else {
            return Vec::new();
        };
        let mut arrived = Vec::new();
        while let Some(message) = feed.ready() {
            self.seen.note(&message);
            arrived.push(message);
        }
        self.pin = feed.into_pin();
        arrived
    }
}
