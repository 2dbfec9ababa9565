//! Fields of a change: left out, null, or a value (RFC 7396).

use serde::{Deserialize, Deserializer};

/// A field that may be left out, which changes nothing, or null, which takes the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Given<T> {
    #[default]
    Absent,
    Null,
    Value(T),
}

impl<T> Given<T> {
    pub(super) fn value(&self) -> Option<&T> {
        match self {
            Self::Value(value) => Some(value),
            Self::Absent | Self::Null => None,
        }
    }
}

impl<T: Clone> Given<T> {
    /// Puts it into a field.
    pub(super) fn apply(&self, field: &mut T, default: &T) {
        match self {
            Self::Absent => {}
            Self::Null => field.clone_from(default),
            Self::Value(value) => field.clone_from(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Given<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = Option::deserialize(deserializer)?;
        Ok(given.map_or(Self::Null, Self::Value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Change {
        #[serde(default)]
        rate: Given<u32>,
    }

    #[test]
    fn absent_null_and_a_value_are_told_apart() {
        for (text, expected) in [
            ("{}", Given::Absent),
            (r#"{"rate": null}"#, Given::Null),
            (r#"{"rate": 5}"#, Given::Value(5)),
        ] {
            let change: Change = serde_json::from_str(text).expect("JSON");
            assert_eq!(change.rate, expected, "{text}");
        }
    }
}
