//! Whole hours, by which statistics are summed.

use crate::model::Timestamp;

pub(super) const HOUR_MS: i64 = 3_600_000;

/// The hour that this time is in.
pub(super) fn hour_of(at: Timestamp) -> Timestamp {
    Timestamp::from_millis(at.millis() - at.millis().rem_euclid(HOUR_MS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_belongs_to_the_hour_that_began_last() {
        for (at, hour) in [(0, 0), (HOUR_MS - 1, 0), (HOUR_MS, HOUR_MS), (-1, -HOUR_MS)] {
            let found = hour_of(Timestamp::from_millis(at));
            assert_eq!(found, Timestamp::from_millis(hour), "{at}");
        }
    }
}
