//! Whether the connected server says anything at all.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// When the server last sent anything, be it the answer to a ping.
#[derive(Default)]
pub(super) struct Hearing(Mutex<Option<Heard>>);

struct Heard {
    /// All bytes that ever came.
    bytes: u64,
    at: Instant,
}

impl Hearing {
    /// Notes how many bytes have come so far.
    pub(super) fn note(&self, bytes: u64, now: Instant) {
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if heard.as_ref().is_none_or(|heard| heard.bytes != bytes) {
            *heard = Some(Heard { bytes, at: now });
        }
    }

    pub(super) fn silence(&self, now: Instant) -> Duration {
        let heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.as_ref().map_or(Duration::ZERO, |heard| {
            now.saturating_duration_since(heard.at)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_from_the_last_byte() {
        let hearing = Hearing::default();
        let start = Instant::now();
        let second = Duration::from_secs(1);
        assert_eq!(hearing.silence(start), Duration::ZERO);
        hearing.note(10, start);
        hearing.note(10, start + second);
        assert_eq!(hearing.silence(start + second * 2), second * 2);
        hearing.note(16, start + second * 3);
        assert_eq!(hearing.silence(start + second * 4), second);
    }
}
