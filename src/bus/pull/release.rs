//! How fetched messages go back to the server, and the partition to another node.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Pull;
use crate::bus::{
    feed::{Feed, KEEP_PIN_INTERVAL},
    give_back::nak_in_order,
    incoming::Incoming,
};

const NAK_DEADLINE: Duration = Duration::from_secs(2);
/// How long a node that gives up a partition waits for the server's word on what it gives back. It
/// has the pin until then, so no later message overtakes them.
const RELEASE_DEADLINE: Duration = Duration::from_secs(5);

impl Pull {
    /// Gives back the fetched messages that were not started, and opens a new feed.
    pub async fn give_back(&mut self) {
        self.pinned = false;
        let mut unstarted = self.take_unstarted();
        unstarted.extend(self.close_feed());
        // Kept until then: should this be dropped while it waits, they are given back later.
        self.unstarted.clone_from(&unstarted);
        // Without a leader nobody hears of it, and nothing can be pulled either. What is not given
        // back by then comes by itself before long.
        let given_back_until = self.bus.settings.ack_wait / 2;
        let confirmed = timeout(given_back_until, nak_in_order(unstarted));
        let is_confirmed = tokio::select! {
            biased;
            confirmed = confirmed => confirmed.unwrap_or(false),
            () = cut_off(&self.cancel) => false,
        };
        // The server has them as handed out until they come again.
        for message in self.unstarted.drain(..) {
            if is_confirmed && let Ok(info) = message.info() {
                self.in_hand.given_back(info.stream_sequence);
            }
        }
    }

    /// The same, together with one that was given out and not started.
    pub async fn give_back_with(&mut self, incoming: Incoming) {
        self.unstarted.push(incoming.into_message());
        self.give_back().await;
    }

    /// Asks for no more messages, and returns once none can come and `done` is over. The former
    /// takes a second at most while the server answers. To be followed by [`Self::release`]; until
    /// then no other node is fed.
    pub async fn stop_until(&mut self, done: impl Future<Output = ()>) {
        let is_done = CancellationToken::new();
        let done = async {
            done.await;
            is_done.cancel();
        };
        let stopped = async {
            self.stop().await;
            if let Some(feed) = &self.feed {
                keep_pin_while(feed, is_done.cancelled()).await;
            }
        };
        tokio::join!(done, stopped);
    }

    pub(super) async fn stop(&mut self) {
        if let Some(feed) = &mut self.feed {
            let first = self.unstarted.len();
            feed.drain(&mut self.unstarted).await;
            for message in &self.unstarted[first..] {
                self.seen.note(message);
            }
        }
    }

    /// Gives back the fetched messages that were not started, and `returned`, which were. Then it
    /// gives up the pin, so that another node goes on at once and gets all of them first.
    pub async fn release(&mut self, returned: Vec<Incoming>) {
        self.stop().await;
        let mut messages = self.take_unstarted();
        messages.extend(returned.into_iter().map(|incoming| incoming.into_message()));
        self.pinned = false;
        let given_back = timeout(RELEASE_DEADLINE, nak_in_order(messages));
        let Some(feed) = self.feed.take() else {
            // Nobody is to be told.
            let _ = given_back.await;
            return;
        };
        let is_confirmed = keep_pin_while(&feed, given_back).await.unwrap_or(false);
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

/// Keeps a feed's pin for as long as this takes, also when the machine is busy.
async fn keep_pin_while<T>(feed: &Feed, future: impl Future<Output = T>) -> T {
    let mut ticks = interval(KEEP_PIN_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(future);
    loop {
        tokio::select! {
            biased;
            value = &mut future => return value,
            _ = ticks.tick() => feed.keep_pin().await,
        }
    }
}

/// When a node that stops gives up to give messages back.
async fn cut_off(cancel: &CancellationToken) {
    cancel.cancelled().await;
    sleep(NAK_DEADLINE).await;
}
