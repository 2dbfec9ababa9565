//! What receivers write into `Retry-After`.
//!
//! RFC 9110 allows whole seconds and HTTP dates. Real receivers also send decimals, units, quotes,
//! ISO 8601 times and seconds since 1970.

use std::time::Duration;

use time::{OffsetDateTime, format_description::well_known::Rfc2822};

use crate::model::Timestamp;

/// The longest wait that a receiver may request.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// A number of seconds from here on is a time since 1970: as a wait it would be 31 years.
const EPOCH_SECONDS_MIN: f64 = 1e9;
/// From here on a number counts milliseconds since 1970.
const EPOCH_MILLIS_MIN: f64 = 1e12;

/// Units that people write behind a number, in seconds.
const UNITS: [(&str, f64); 15] = [
    ("", 1.0),
    ("ms", 0.001),
    ("s", 1.0),
    ("sec", 1.0),
    ("secs", 1.0),
    ("second", 1.0),
    ("seconds", 1.0),
    ("m", 60.0),
    ("min", 60.0),
    ("mins", 60.0),
    ("minute", 60.0),
    ("minutes", 60.0),
    ("h", 3600.0),
    ("hour", 3600.0),
    ("hours", 3600.0),
];

/// Parses `Retry-After`: a number of seconds, decimals rounded up, with or without a unit; or a
/// time. A number over 10⁹ is a time since 1970. At most [`RETRY_AFTER_MAX`]; `None` for anything
/// else.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wahook::{model::Timestamp, policy::parse_retry_after};
///
/// let parse = |text| parse_retry_after(text, Timestamp::EPOCH);
/// assert_eq!(parse("120"), Some(Duration::from_secs(120)));
/// assert_eq!(parse("1970-01-01T00:01:00Z"), Some(Duration::from_secs(60)));
/// assert_eq!(parse("soon"), None);
/// ```
pub fn parse_retry_after(text: &str, now: Timestamp) -> Option<Duration> {
    let is_around = |letter: char| letter.is_whitespace() || matches!(letter, '"' | '\'' | ';');
    let text = text.trim_matches(is_around);
    let wait = match number(text) {
        Some(number) => wait_of(number, now),
        None => time_of(text)?.since(now),
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// Seconds, of which there may be fractions. The same header twice makes a list of it.
fn number(text: &str) -> Option<f64> {
    let mut items = text.split(',').map(str::trim);
    let first = items.next()?;
    let end = first
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(first.len());
    let (digits, unit) = first.split_at(end);
    let unit = unit.trim().to_ascii_lowercase();
    let (_, seconds) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let number: f64 = digits.parse().ok()?;
    items
        .all(|item| item.starts_with(|letter: char| letter.is_ascii_digit()))
        .then_some(number * seconds)
}

fn wait_of(seconds: f64, now: Timestamp) -> Duration {
    // Out of range means very late: the cast saturates.
    if seconds >= EPOCH_MILLIS_MIN {
        return Timestamp::from_millis(seconds as i64).since(now);
    }
    if seconds >= EPOCH_SECONDS_MIN {
        return Timestamp::from_millis((seconds * 1000.0) as i64).since(now);
    }
    Duration::from_secs(seconds.ceil() as u64)
}

/// A time in one of the forms in which times are written.
fn time_of(text: &str) -> Option<Timestamp> {
    if let Ok(at) = httpdate::parse_http_date(text) {
        return Some(Timestamp::from_system(at));
    }
    // Zones other than GMT.
    let numeric = text.replace("UTC", "GMT");
    if let Ok(at) = OffsetDateTime::parse(&numeric, &Rfc2822) {
        return Some(Timestamp::from_system(at.into()));
    }
    let iso = text.to_ascii_uppercase();
    let iso = iso
        .trim_end_matches("UTC")
        .trim_end_matches("GMT")
        .trim_end();
    let iso = iso.replacen(' ', "T", 1);
    // Without a zone it is UTC.
    iso.parse().or_else(|_| format!("{iso}Z").parse()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn retry_after_is_parsed_in_the_forms_that_people_send() {
        let now: Timestamp = "2026-11-24T08:00:00Z".parse().expect("valid");
        for (text, seconds) in [
            ("120", 120),
            (" 0 ", 0),
            ("3.0", 3),
            ("1.2", 2),
            ("0.001", 1),
            ("99999999999999999999999", 86_400),
            ("120 s", 120),
            ("120s", 120),
            ("2 minutes", 120),
            ("1h", 3600),
            ("1500ms", 2),
            ("\"120\"", 120),
            ("'120'", 120),
            ("120;", 120),
            ("120, 120", 120),
            ("1795507260", 60),
            ("1795507260.5", 61),
            ("1795507260000", 60),
            ("1000000000", 0),
            ("999999999", 86_400),
            ("Tue, 24 Nov 2026 08:01:00 GMT", 60),
            ("Tuesday, 24-Nov-26 08:01:00 GMT", 60),
            ("Tue Nov 24 08:01:00 2026", 60),
            ("Tue, 24 Nov 2026 08:01:00 UTC", 60),
            ("Tue, 24 Nov 2026 09:01:00 +0100", 60),
            ("Tue, 24 Nov 2020 08:01:00 GMT", 0),
            ("2026-11-24T08:01:00Z", 60),
            ("2026-11-24T08:01:00.250Z", 61),
            ("2026-11-24t08:01:00z", 60),
            ("2026-11-24T09:01:00+01:00", 60),
            ("2026-11-24T08:01:00", 60),
            ("2026-11-24 08:01:00", 60),
            ("2026-11-24 08:01:00.5", 61),
            ("2026-11-24 08:01:00 UTC", 60),
            ("\"2026-11-24T08:01:00Z\"", 60),
            ("2099-01-01T00:00:00Z", 86_400),
        ] {
            let wait = parse_retry_after(text, now).map(|wait| wait.as_secs_f64().ceil() as u64);
            assert_eq!(wait, Some(seconds), "{text:?}");
        }
        for nonsense in [
            "",
            "-1",
            "soon",
            "１",
            ".",
            "1.2.3",
            "NaN",
            "inf",
            "1e3",
            "120 parsecs",
            "+5",
            "2026-13-01T00:00:00Z",
        ] {
            assert_eq!(parse_retry_after(nonsense, now), None, "{nonsense:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_much(text: String, now: i64) {
            let wait = parse_retry_after(&text, Timestamp::from_millis(now));
            prop_assert!(wait.is_none_or(|wait| wait <= RETRY_AFTER_MAX));
        }

        #[test]
        fn whole_seconds_are_taken_as_they_are(seconds in 0_u64..86_400) {
            let wait = parse_retry_after(&seconds.to_string(), Timestamp::EPOCH);
            prop_assert_eq!(wait, Some(Duration::from_secs(seconds)));
        }
    }
}
