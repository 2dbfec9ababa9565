//! Durations and sizes as people write them, like `15s` and `16KiB`.

use std::time::Duration;

const DURATIONS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZES: [(&str, u64); 5] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

/// A whole number followed directly by its unit.
fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(split);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

/// The text in the largest unit that needs no fraction.
fn show(value: u64, units: &[(&str, u64)]) -> Option<String> {
    let (name, factor) = units
        .iter()
        .find(|(_, factor)| value.is_multiple_of(*factor))?;
    Some(format!("{}{name}", value / factor))
}

/// From `500ms`, `15s`, `5m`, `24h`.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    parse(text, &DURATIONS).map(Duration::from_millis)
}

/// The shortest such text.
pub(super) fn show_duration(value: Duration) -> String {
    let millis = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    if millis == 0 {
        "0s".into()
    } else {
        show(millis, &DURATIONS).unwrap_or_default()
    }
}

/// From `16KiB`, `1GiB`, or a bare number of bytes.
pub fn parse_size(text: &str) -> Option<u64> {
    let bare = text.bytes().all(|b| b.is_ascii_digit());
    if bare {
        text.parse().ok()
    } else {
        parse(text, &SIZES)
    }
}

/// The shortest such text.
pub fn show_size(value: u64) -> String {
    if value == 0 {
        "0".into()
    } else {
        show(value, &SIZES).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn duration_or_size_with_another_spelling_is_refused() {
        assert_eq!(parse_duration("24h"), Some(Duration::from_secs(86_400)));
        assert_eq!(parse_duration("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse_size("16KiB"), Some(16_384));
        assert_eq!(parse_size("17"), Some(17));
        for wrong in [
            "",
            "s",
            "1",
            "-1s",
            "+1s",
            "1.5s",
            "1 s",
            "1d",
            "1S",
            "1s1",
            "99999999999999999999s",
        ] {
            assert_eq!(parse_duration(wrong), None, "{wrong}");
        }
        for wrong in [
            "",
            "KiB",
            "1KB",
            "-1",
            "1.5MiB",
            "1kib",
            "18446744073709551615KiB",
        ] {
            assert_eq!(parse_size(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn duration_and_size_survive_their_text(value in 0..u64::MAX / 2) {
            let duration = Duration::from_millis(value);
            prop_assert_eq!(parse_duration(&show_duration(duration)), Some(duration));
            prop_assert_eq!(parse_size(&show_size(value)), Some(value));
        }

        #[test]
        fn any_text_is_parsed_without_panic(text in ".*") {
            parse_duration(&text);
            parse_size(&text);
        }
    }
}
