//! How full the streams are that clients share, as this process knows it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Stream;
use crate::model::ClientId;

/// How full a stream is.
#[derive(Debug, Default, Clone, Copy)]
struct Fill {
    read: Option<u64>,
    /// Stored and removed here since then.
    since: i64,
}

/// How full the shared streams are, and what is under way to them.
#[derive(Default)]
pub(super) struct Fills {
    streams: Mutex<HashMap<Stream, Fill>>,
    under_way: Mutex<HashMap<ClientId, u64>>,
}

impl Fills {
    pub(super) fn note(&self, stream: Stream, bytes: i64) {
        self.streams().entry(stream).or_default().since += bytes;
    }

    /// What was noted so far: to be given to [`Self::learn`] with a reading that begins now.
    pub(super) fn mark(&self, stream: Stream) -> i64 {
        self.streams().entry(stream).or_default().since
    }

    pub(super) fn learn(&self, stream: Stream, bytes: u64, mark: i64) {
        let mut streams = self.streams();
        let fill = streams.entry(stream).or_default();
        fill.read = Some(bytes);
        fill.since -= mark;
    }

    /// `None`: it was never read.
    pub(super) fn bytes(&self, stream: Stream) -> Option<u64> {
        let fill = self.streams().get(&stream).copied()?;
        Some(fill.read?.saturating_add_signed(fill.since))
    }

    fn streams(&self) -> MutexGuard<'_, HashMap<Stream, Fill>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn under_way(&self) -> MutexGuard<'_, HashMap<ClientId, u64>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_while_a_reading_is_made_counts_until_the_next() {
        let fills = Fills::default();
        assert_eq!(fills.bytes(Stream::Retries), None);
        fills.note(Stream::Retries, 5);
        let mark = fills.mark(Stream::Retries);
        fills.note(Stream::Retries, 30);
        fills.learn(Stream::Retries, 100, mark);
        assert_eq!(fills.bytes(Stream::Retries), Some(130));
        fills.note(Stream::Retries, -200);
        assert_eq!(fills.bytes(Stream::Retries), Some(0));
    }
}
