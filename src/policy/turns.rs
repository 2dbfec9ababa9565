//! Turns for what is let through evenly, and not refused.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Keys whose last turn is over are forgotten when there are so many.
const KEYS_MAX: usize = 1024;

/// Gives each key turns at an even rate, after a burst (the generic cell rate algorithm). Unlike a
/// rate limit it says when a turn comes, so that its owner can wait for it.
#[derive(Debug)]
pub struct Turns<K> {
    per_second: u32,
    burst: u32,
    /// When each key would have no turn of its burst left over.
    next: Mutex<HashMap<K, Instant>>,
}

impl<K: Eq + Hash> Turns<K> {
    /// So many units a second, and so many at once.
    pub fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second: per_second.max(1),
            burst,
            next: Mutex::default(),
        }
    }

    /// How long to wait until so many units may go. They are counted, unless that is longer than
    /// `wait_max`.
    ///
    /// # Errors
    /// How long the wait would be.
    pub fn take(
        &self,
        key: K,
        units: u32,
        now: Instant,
        wait_max: Duration,
    ) -> Result<Duration, Duration> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        if next.len() >= KEYS_MAX {
            next.retain(|_, at| *at > now);
        }
        let begin = next.get(&key).map_or(now, |at| (*at).max(now));
        let wait = (begin - now).saturating_sub(self.span(self.burst));
        if wait > wait_max {
            return Err(wait);
        }
        next.insert(key, begin + self.span(units));
        Ok(wait)
    }

    fn span(&self, units: u32) -> Duration {
        Duration::from_secs(units.into()) / self.per_second
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let turns = Turns::new(10, 20);
        let now = Instant::now();
        let mut waits = Vec::new();
        while let Ok(wait) = turns.take("a", 10, now, 2 * SECOND) {
            waits.push(wait.as_secs());
        }
        assert_eq!(waits, [0, 0, 0, 1, 2]);
        assert_eq!(
            turns.take("a", 1, now, SECOND),
            Err(3 * SECOND),
            "it costs nothing"
        );
        assert_eq!(turns.take("a", 1, now + SECOND, 2 * SECOND), Ok(2 * SECOND));
        assert_eq!(turns.take("b", 99, now, SECOND), Ok(Duration::ZERO));
    }

    #[test]
    fn keys_without_a_debt_are_forgotten() {
        let turns = Turns::new(10, 20);
        let now = Instant::now();
        for key in 0..2 * KEYS_MAX {
            let later = now + SECOND * u32::try_from(key).expect("few");
            assert!(turns.take(key, 10, later, SECOND).is_ok());
        }
        let kept = turns.next.lock().expect("nobody panics").len();
        assert!(kept <= KEYS_MAX, "{kept}");
    }
}
