//! How fast a session sends.

use std::time::Duration;

use tokio::time::Instant;

/// Messages that may go at once.
const BURST_MESSAGES: u32 = 5;
/// How long a message may wait for its turn; longer waits are refused.
const TURN_WAIT_MAX: Duration = Duration::from_secs(3);

/// Limits how fast a session sends: a small burst, then evenly (the generic cell rate algorithm).
pub(in crate::ingest) struct SendLimiter {
    gap: Duration,
    next: Instant,
}

impl SendLimiter {
    pub(in crate::ingest) fn new(per_minute: u32, now: Instant) -> Self {
        Self {
            gap: Duration::from_secs(60) / per_minute.max(1),
            next: now,
        }
    }

    /// When the next message may go, or how long until there is room for one.
    pub(in crate::ingest) fn take(&mut self, now: Instant) -> Result<Instant, Duration> {
        let begin = self.next.max(now);
        // Up to a burst ahead of its time.
        let at = begin
            .checked_sub(self.gap * (BURST_MESSAGES - 1))
            .map_or(now, |early| early.max(now));
        if at > now + TURN_WAIT_MAX {
            return Err(at - now);
        }
        self.next = begin + self.gap;
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limiter_lets_a_burst_go_at_once_and_spaces_the_rest() {
        let now = Instant::now();
        let mut limiter = SendLimiter::new(60, now);
        let second = Duration::from_secs(1);
        let first: Vec<_> = (0..5).map(|_| limiter.take(now)).collect();
        assert_eq!(first, [Ok(now); 5]);
        assert_eq!(
            [limiter.take(now), limiter.take(now), limiter.take(now)],
            [1, 2, 3].map(|n| Ok(now + second * n))
        );
        assert_eq!(
            limiter.take(now),
            Err(second * 4),
            "refused, and it costs nothing"
        );
        assert_eq!(limiter.take(now + second), Ok(now + second * 4));
        assert_eq!(
            limiter.take(now + second * 60),
            Ok(now + second * 60),
            "it fills up again"
        );
    }
}
