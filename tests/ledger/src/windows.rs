//! How many came in any stretch of time.

/// Most of `times` (sorted) in any window `[t, t + length)`, and where it begins. (0, 0) when there
/// are none.
pub fn fullest(times: &[u64], length: u64) -> (usize, u64) {
    debug_assert!(times.is_sorted(), "times are sorted");
    let mut most = (0, 0);
    let mut first = 0;
    for (last, at) in times.iter().enumerate() {
        while at - times[first] >= length {
            first += 1;
        }
        let count = last + 1 - first;
        if count > most.0 {
            most = (count, times[first]);
        }
    }
    most
}

/// Windows of this length that hold more than `most(begin)`: begin and count, one for each arrival
/// that is too many.
pub fn overfull(times: &[u64], length: u64, most: impl Fn(u64) -> usize) -> Vec<(u64, usize)> {
    debug_assert!(times.is_sorted(), "times are sorted");
    let mut faults = Vec::new();
    let mut first = 0;
    for (last, at) in times.iter().enumerate() {
        while at - times[first] >= length {
            first += 1;
        }
        let count = last + 1 - first;
        if count > most(times[first]) {
            faults.push((times[first], count));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_window_is_found_wherever_it_begins() {
        assert_eq!(fullest(&[], 10), (0, 0));
        assert_eq!(fullest(&[5], 10), (1, 5));
        // 9 and 18 are within ten of each other, 9 and 19 are not.
        assert_eq!(fullest(&[0, 9, 18, 40], 10), (2, 0));
        assert_eq!(fullest(&[0, 9, 17, 18, 19, 40], 10), (3, 9));
    }

    #[test]
    fn each_arrival_that_is_too_many_is_named() {
        let times = [0, 1, 2, 3, 100];
        assert_eq!(overfull(&times, 10, |_| 4), []);
        assert_eq!(overfull(&times, 10, |_| 2), [(0, 3), (0, 4)]);
        assert_eq!(
            overfull(&times, 10, |begin| if begin < 50 { 4 } else { 0 }),
            [(100, 1)]
        );
    }
}
