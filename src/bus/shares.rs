//! Each client's share of the streams that all clients fill.
//!
//! A client may add to a stream while it holds less of it than [`FACTOR`] times what is free (a
//! dynamic threshold: Choudhury and Hahne, 1998). So a client that is alone gets four fifths, two
//! that want all get four ninths each, and there is always room for one that comes in. Whatever the
//! quotas allow, no client fills a stream for the others.
//!
//! The counters in WA_USAGE say what a client holds. How full a stream is is read once a second;
//! what this process stores and removes meanwhile is added to it.

use std::sync::Arc;

use super::{Bus, Error, Stream, room, usage::UsageCounts};
use crate::{
    config,
    model::{ClientId, Quota},
};

/// How many times what is free a client may hold. A larger one leaves less to a client that comes
/// into a full stream: of what one client left, four fifths.
const FACTOR: u64 = 4;
/// What each client may hold of a stream, however full it is: one of so many parts.
const MINIMUM_PARTS: u64 = 1024;
/// What those minima come from beyond the capacity, and what several nodes store at the same
/// moment: one of so many parts of it.
const RESERVE_PARTS: u64 = 8;

/// Where messages wait. What is given up has a stream of its own.
const OF_WAITING: [Stream; 4] = [
    Stream::Messages,
    Stream::Retries,
    Stream::ChatQueues,
    Stream::Held,
];
/// The streams that are shared.
pub(super) const SHARED: [Stream; 5] = [
    Stream::Messages,
    Stream::Retries,
    Stream::ChatQueues,
    Stream::Held,
    Stream::DeadLetters,
];

/// What is used up of a client's, so that it may publish nothing more now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsedUp {
    /// What it may have stored that waits.
    Waiting,
    /// Its share of a stream.
    Share(Stream),
}

impl UsedUp {
    /// As metrics name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Share(_) => "share",
        }
    }
}

/// Bytes of a message that may have to be stored again, until this is dropped.
pub struct UnderWay {
    usage: Arc<UsageCounts>,
    client: ClientId,
    bytes: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = self.usage.fills().under_way();
        if let Some(bytes) = under_way.get_mut(&self.client) {
            *bytes = bytes.saturating_sub(self.bytes);
            if *bytes == 0 {
                under_way.remove(&self.client);
            }
        }
    }
}

impl Bus {
    /// Reads how full the shared streams are.
    pub(super) async fn read_fills(&self) -> Result<(), Error> {
        for stream in SHARED {
            let mark = self.usage.fills().mark(stream);
            let bytes = self.bytes_in(stream).await?;
            self.usage.fills().learn(stream, bytes, mark);
        }
        Ok(())
    }

    /// What a client has used up, so that nothing more is to be taken for it.
    pub async fn used_up(&self, client: ClientId) -> Result<Option<UsedUp>, Error> {
        if self.is_used_up(Quota::Waiting, client).await? {
            return Ok(Some(UsedUp::Waiting));
        }
        for stream in OF_WAITING {
            if self.is_over_share(stream, client, 0).await? {
                return Ok(Some(UsedUp::Share(stream)));
            }
        }
        Ok(None)
    }

    /// Takes note of a new message that may have to be parked or queued; `None` when its client
    /// has its share of the streams for that.
    pub async fn take_up(&self, client: ClientId, bytes: u64) -> Option<UnderWay> {
        let under_way = {
            let mut all = self.usage.fills().under_way();
            let held = all.entry(client).or_default();
            *held += bytes;
            *held
        };
        let taken = UnderWay {
            usage: Arc::clone(&self.usage),
            client,
            bytes,
        };
        for stream in [Stream::Retries, Stream::ChatQueues] {
            match self.is_over_share(stream, client, under_way).await {
                Ok(false) => {}
                Ok(true) => return None,
                // While it cannot be told, it goes on.
                Err(error) => tracing::debug!(%error, "the share of a client is not known"),
            }
        }
        Some(taken)
    }

    /// Whether a client has its share of the stream of retries.
    pub async fn is_full_of_retries(&self, client: ClientId) -> Result<bool, Error> {
        self.is_over_share(Stream::Retries, client, 0).await
    }

    /// Whether a client that was held back may go on: well before it has its share again, so that
    /// it does not go back and forth.
    pub async fn has_room_again(&self, client: ClientId) -> Result<bool, Error> {
        for stream in [Stream::Retries, Stream::ChatQueues] {
            let held = self.held_in(stream, client).await?;
            if self.is_over_share(stream, client, held).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Bytes of a stream at which nothing more is taken for anybody: all shares and the reserve.
    pub fn closes_at(&self, stream: Stream) -> u64 {
        closes_at(capacity(stream, &self.settings))
    }

    /// Whether a client holds its share of a stream, or more. `more`: bytes to be counted beside
    /// what is stored.
    pub(super) async fn is_over_share(
        &self,
        stream: Stream,
        client: ClientId,
        more: u64,
    ) -> Result<bool, Error> {
        let Some(total) = self.usage.fills().bytes(stream) else {
            return Ok(false);
        };
        let capacity = capacity(stream, &self.settings);
        // What is under way will be stored as well.
        let total = total.saturating_add(more);
        // Nobody is, so no counter need be asked.
        if !is_over(total, total, capacity) {
            return Ok(false);
        }
        let held = self.held_in(stream, client).await?.saturating_add(more);
        Ok(is_over(held, total, capacity))
    }

    async fn held_in(&self, stream: Stream, client: ClientId) -> Result<u64, Error> {
        let quota = match stream {
            Stream::Retries => Quota::Retries,
            Stream::ChatQueues => Quota::ChatQueues,
            Stream::Held => Quota::Held,
            Stream::DeadLetters => Quota::DeadLetters,
            _ => {
                let usage = self.usage(client).await?;
                return Ok(usage.new_bytes());
            }
        };
        self.used((quota, client)).await
    }
}

/// What is shared of a stream. The reserve lies above it and below the stream's limit.
fn capacity(stream: Stream, settings: &config::Bus) -> u64 {
    match stream {
        Stream::Retries => settings.retry_bytes_max,
        _ => {
            let limit = room::setting(stream.as_str(), settings).map_or(u64::MAX, |(_, max)| max);
            limit / (RESERVE_PARTS + 2) * RESERVE_PARTS
        }
    }
}

fn closes_at(capacity: u64) -> u64 {
    capacity.saturating_add(capacity / RESERVE_PARTS)
}

fn is_over(held: u64, total: u64, capacity: u64) -> bool {
    let share = capacity.saturating_sub(total).saturating_mul(FACTOR);
    held > capacity / MINIMUM_PARTS && held >= share
}

#[cfg(test)]
mod tests {
    use super::*;

    const CAPACITY: u64 = 1 << 20;
    const STEP: u64 = 100;

    /// Each takes all it may, in turn, until nobody may take more.
    fn filled(clients: usize) -> Vec<u64> {
        let mut held = vec![0; clients];
        loop {
            let before = held.clone();
            for client in 0..clients {
                let total = held.iter().sum();
                if !is_over(held[client], total, CAPACITY) {
                    held[client] += STEP;
                }
            }
            if held == before {
                return held;
            }
        }
    }

    #[test]
    fn one_gets_four_fifths_and_two_get_four_ninths_each() {
        for (clients, part) in [(1, 5), (2, 9), (7, 29)] {
            for held in filled(clients) {
                assert!(
                    held.abs_diff(CAPACITY * 4 / part) <= STEP,
                    "{held} of {clients}"
                );
            }
        }
    }

    #[test]
    fn one_that_comes_gets_four_fifths_of_what_one_left() {
        let first = filled(1)[0];
        let mut second = 0;
        while !is_over(second, first + second, CAPACITY) {
            second += STEP;
        }
        let left = CAPACITY - first;
        assert!(second.abs_diff(left * 4 / 5) <= STEP, "{second} of {left}");
    }

    #[test]
    fn who_holds_a_part_is_not_over_if_nobody_with_all_would_be() {
        for total in (0..CAPACITY).step_by(777) {
            for held in (0..total).step_by(777) {
                let nobody_is = !is_over(total, total, CAPACITY);
                assert!(
                    !nobody_is || !is_over(held, total, CAPACITY),
                    "{held} of {total}"
                );
            }
        }
    }

    #[test]
    fn one_that_comes_into_a_full_stream_gets_its_minimum() {
        let minimum = CAPACITY / MINIMUM_PARTS;
        for total in [CAPACITY, 2 * CAPACITY] {
            assert!(!is_over(minimum, total, CAPACITY));
            assert!(is_over(minimum + 1, total, CAPACITY));
        }
    }

    #[test]
    fn reserve_lies_below_the_limit_of_each_stream() {
        let settings = config::Config::default().bus;
        for stream in SHARED {
            let limit = match stream {
                Stream::Retries => room::retry_limit(settings.retry_bytes_max),
                _ => {
                    let found = room::setting(stream.as_str(), &settings);
                    found.expect("it has one").1
                }
            };
            assert!(closes_at(capacity(stream, &settings)) < limit, "{stream}");
        }
    }
}
