//! Points in time.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use super::ParseError;

/// Milliseconds since 1970-01-01T00:00:00Z, in the years 0 to 9999, which RFC 3339 can express.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use wahook::model::Timestamp;
///
/// let time: Timestamp = "2026-11-24T08:30:00Z".parse()?;
/// assert_eq!(time.after(Duration::from_secs(60)).to_string(), "2026-11-24T08:31:00Z");
/// # Ok::<(), wahook::model::ParseError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "i64", into = "i64")]
pub struct Timestamp(i64);

const MIN: i64 = -62_167_219_200_000;
const MAX: i64 = 253_402_300_799_999;

/// Clamped: stored bytes may hold any number.
impl From<i64> for Timestamp {
    fn from(millis: i64) -> Self {
        Self::from_millis(millis)
    }
}

impl From<OffsetDateTime> for Timestamp {
    fn from(at: OffsetDateTime) -> Self {
        let millis = at.unix_timestamp_nanos().div_euclid(1_000_000);
        Self::from_millis(i64::try_from(millis).unwrap_or(MAX))
    }
}

impl From<Timestamp> for i64 {
    fn from(at: Timestamp) -> Self {
        at.millis()
    }
}

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From milliseconds since 1970, clamped to the years 0 to 9999.
    pub fn from_millis(millis: i64) -> Self {
        Self(millis.clamp(MIN, MAX))
    }

    /// From the system clock's type.
    pub fn from_system(time: std::time::SystemTime) -> Self {
        let since = time
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self::from_millis(i64::try_from(since.as_millis()).unwrap_or(MAX))
    }

    /// Milliseconds since 1970.
    pub fn millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Days since 1970, in UTC.
    pub fn day(self) -> i32 {
        i32::try_from(self.0.div_euclid(86_400_000)).expect("the years 0 to 9999 have few days")
    }

    /// The time `span` after this one.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self::from_millis(
            self.0
                .saturating_add(i64::try_from(span.as_millis()).unwrap_or(i64::MAX)),
        )
    }

    /// The time from `earlier` to this one; zero when this one is not later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0 - earlier.0).unwrap_or(0))
    }

    /// RFC 3339 in UTC with whole seconds, as in webhook bodies: `2026-11-24T08:30:00Z`.
    pub fn rfc3339_seconds(self) -> String {
        Self(self.seconds() * 1000).to_string()
    }

    fn date_time(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1_000_000)
            .expect("clamped when made")
    }
}

/// RFC 3339 in UTC, with milliseconds unless they are zero.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            &self
                .date_time()
                .format(&Rfc3339)
                .expect("the years 0 to 9999 have an RFC 3339 form"),
        )
    }
}

impl FromStr for Timestamp {
    type Err = ParseError;
    fn from_str(text: &str) -> Result<Self, ParseError> {
        let invalid = |_| ParseError("a time is RFC 3339, like 2026-11-24T08:30:00Z");
        let time = OffsetDateTime::parse(text, &Rfc3339).map_err(invalid)?;
        Ok(time.into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn timestamp_read_from_any_number_is_clamped_and_can_be_shown() {
        for millis in [i64::MIN, MIN - 1, MIN, 0, MAX, MAX + 1, i64::MAX] {
            let at: Timestamp = serde_json::from_value(millis.into()).expect("a number");
            assert_eq!(at, Timestamp::from_millis(millis));
            assert!(at.to_string().ends_with('Z'), "{millis}");
            assert_eq!(serde_json::to_value(at).expect("plain"), at.millis());
        }
    }

    #[test]
    fn timestamp_is_written_as_rfc_3339() {
        assert_eq!(
            Timestamp::from_millis(0).to_string(),
            "1970-01-01T00:00:00Z"
        );
        assert_eq!(
            Timestamp::from_millis(1_500).rfc3339_seconds(),
            "1970-01-01T00:00:01Z"
        );
        assert_eq!(
            "1970-01-01T01:00:00+01:00"
                .parse::<Timestamp>()
                .map(Timestamp::millis),
            Ok(0)
        );
    }

    proptest! {
        #[test]
        fn timestamp_survives_its_text(millis in MIN..=MAX) {
            let time = Timestamp::from_millis(millis);
            prop_assert_eq!(time.to_string().parse::<Timestamp>(), Ok(time));
        }
    }
}
