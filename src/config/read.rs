//! Reads typed values and checks their bounds.
//!
//! A wrong value is recorded as an error and replaced with a default of its type, so that reading
//! continues and finds all errors.

use std::{
    collections::BTreeMap, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr,
    time::Duration,
};

use super::{
    error::Error,
    merge::{Raw, Values},
    units::{parse_duration, parse_size, show_duration, show_size},
};
use crate::model::{Limit, Secret};

/// Reads keys one by one and collects the findings.
pub(super) struct Reader<'a> {
    values: &'a Values,
    findings: Findings,
}

/// The findings of a reader.
#[derive(Default)]
pub(super) struct Findings {
    pub(super) errors: Vec<Error>,
    /// The value of each key as TOML, secrets masked. Optional keys that are not set are missing.
    pub(super) shown: BTreeMap<String, String>,
    /// For each key that was read: the sentence on bounds that its comment must contain.
    pub(super) bounds: BTreeMap<&'static str, String>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(values: &'a Values) -> Self {
        Self {
            values,
            findings: Findings::default(),
        }
    }

    pub(super) fn finish(self) -> Findings {
        self.findings
    }

    /// Parses the value of a key. Records either the text that `show` returns or an error that says
    /// what was `expected`. All other methods use this one.
    fn take<T>(
        &mut self,
        key: &'static str,
        bounds: &str,
        expected: &str,
        parse: impl FnOnce(&Raw) -> Option<T>,
        show: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        self.findings.bounds.insert(key, bounds.to_owned());
        let value = self.values.get(key)?;
        let parsed = parse(&value.raw);
        if let Some(parsed) = &parsed {
            self.findings.shown.insert(key.into(), show(parsed));
        } else {
            let key = key.to_owned();
            let origin = value.origin.clone();
            self.findings.errors.push(Error::Invalid {
                key,
                origin,
                expected: expected.into(),
            });
        }
        parsed
    }

    /// `min` and `max` are durations as text.
    pub(super) fn duration(&mut self, key: &'static str, min: &str, max: &str) -> Duration {
        let bound = |text| parse_duration(text).expect("bounds are durations");
        let range = bound(min)..=bound(max);
        let parse = |raw: &Raw| {
            text(raw)
                .and_then(parse_duration)
                .filter(|value| range.contains(value))
        };
        let expected = format!("a duration from {min} to {max}, like \"{min}\" or \"{max}\"");
        let show = |value: &Duration| quote(&show_duration(*value));
        self.take(
            key,
            &format!("From {min} to {max}."),
            &expected,
            parse,
            show,
        )
        .unwrap_or_default()
    }

    /// `min` and `max` are sizes as text.
    pub(super) fn size<T: TryFrom<u64> + Default>(
        &mut self,
        key: &'static str,
        min: &str,
        max: &str,
    ) -> T {
        let bound = |text| parse_size(text).expect("bounds are sizes");
        self.size_within(key, bound(min)..=bound(max))
    }

    /// A limit that can be set for each client as well, within the same bounds.
    pub(super) fn limit<T: TryFrom<u64> + Default>(&mut self, key: &'static str, of: Limit) -> T {
        let bounds = of.bounds();
        if of.is_in_bytes() {
            self.size_within(key, bounds)
        } else {
            self.integer(key, *bounds.start(), *bounds.end())
        }
    }

    fn size_within<T: TryFrom<u64> + Default>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> T {
        let min = show_size(*range.start());
        let max = show_size(*range.end());
        let parse = |raw: &Raw| match raw {
            Raw::Toml(toml::Value::Integer(bytes)) => u64::try_from(*bytes).ok(),
            raw => text(raw).and_then(parse_size),
        };
        let expected = format!("a size from {min} to {max}, in bytes or like \"{max}\"");
        let parse = |raw: &Raw| parse(raw).filter(|value| range.contains(value));
        let show = |value: &u64| quote(&show_size(*value));
        let bytes = self.take(
            key,
            &format!("From {min} to {max}."),
            &expected,
            parse,
            show,
        );
        bytes
            .and_then(|bytes| T::try_from(bytes).ok())
            .unwrap_or_default()
    }

    pub(super) fn integer<T: TryFrom<u64> + Default>(
        &mut self,
        key: &'static str,
        min: u64,
        max: u64,
    ) -> T {
        let bounds = format!("From {min} to {max}.");
        self.number(
            key,
            &bounds,
            &format!("a whole number from {min} to {max}"),
            |value| (min..=max).contains(&value),
        )
    }

    pub(super) fn one_of<T: TryFrom<u64> + Default>(
        &mut self,
        key: &'static str,
        allowed: [u64; 3],
    ) -> T {
        let [a, b, c] = allowed;
        self.number(
            key,
            &format!("{a}, {b} or {c}."),
            &format!("{a}, {b} or {c}"),
            |value| allowed.contains(&value),
        )
    }

    fn number<T: TryFrom<u64> + Default>(
        &mut self,
        key: &'static str,
        bounds: &str,
        expected: &str,
        fits: impl Fn(u64) -> bool,
    ) -> T {
        let parse = |raw: &Raw| match raw {
            Raw::Toml(toml::Value::Integer(value)) => u64::try_from(*value).ok(),
            Raw::Toml(_) => None,
            Raw::Text(text) => text.parse().ok(),
        };
        let value = self.take(
            key,
            bounds,
            expected,
            |raw| parse(raw).filter(|value| fits(*value)),
            u64::to_string,
        );
        value
            .and_then(|value| T::try_from(value).ok())
            .unwrap_or_default()
    }

    pub(super) fn share(&mut self, key: &'static str, max: f64) -> f64 {
        let parse = |raw: &Raw| match raw {
            Raw::Toml(value) => value
                .as_float()
                .or_else(|| value.as_integer().map(|value| value as f64)),
            Raw::Text(text) => text.parse().ok(),
        };
        let parse = |raw: &Raw| parse(raw).filter(|value| (0.0..=max).contains(value));
        // `{:?}` keeps the point, so that it stays a float in TOML.
        let show = |value: &f64| format!("{value:?}");
        self.take(
            key,
            &format!("From 0 to {max}."),
            &format!("a number from 0 to {max}"),
            parse,
            show,
        )
        .unwrap_or(0.0)
    }

    pub(super) fn boolean(&mut self, key: &'static str) -> bool {
        let parse = |raw: &Raw| match raw {
            Raw::Toml(value) => value.as_bool(),
            Raw::Text(text) => text.parse().ok(),
        };
        self.take(key, "", "true or false", parse, bool::to_string)
            .unwrap_or_default()
    }

    /// Text that `parse` accepts.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let both = |raw: &Raw| text(raw).and_then(|text| Some((parse(text)?, quote(text))));
        self.take(key, "", expected, both, |(_, shown)| shown.clone())
            .map(|(value, _)| value)
    }

    pub(super) fn path(&mut self, key: &'static str) -> PathBuf {
        self.parsed(key, "a path", |text| {
            Some(text.into()).filter(|_| !text.is_empty())
        })
        .unwrap_or_default()
    }

    pub(super) fn address(&mut self, key: &'static str) -> SocketAddr {
        let address = self.parsed(
            key,
            "an IP address and a port, like \"127.0.0.1:8080\"",
            |text| text.parse().ok(),
        );
        address.unwrap_or_else(|| ([0, 0, 0, 0], 0).into())
    }

    /// A list: an array in TOML, separated by commas in a variable or flag.
    pub(super) fn list<T: FromStr + ToString>(
        &mut self,
        key: &'static str,
        expected: &str,
    ) -> Vec<T> {
        let parse = |raw: &Raw| -> Option<Vec<T>> {
            match raw {
                Raw::Toml(value) => value
                    .as_array()?
                    .iter()
                    .map(|item| item.as_str()?.parse().ok())
                    .collect(),
                Raw::Text(text) => text
                    .split(',')
                    .map(str::trim)
                    .filter(|item| !item.is_empty())
                    .map(|item| item.parse().ok())
                    .collect(),
            }
        };
        let show = |items: &Vec<T>| {
            let items: Vec<_> = items.iter().map(|item| quote(&item.to_string())).collect();
            format!("[{}]", items.join(", "))
        };
        self.take(key, "", expected, parse, show)
            .unwrap_or_default()
    }

    /// An optional text. Empty means not set.
    pub(super) fn optional<T: From<String>>(&mut self, key: &'static str) -> Option<T> {
        self.optional_shown(key, quote).map(T::from)
    }

    /// Like [`Self::optional`], but the value is never shown.
    pub(super) fn secret(&mut self, key: &'static str) -> Option<Secret> {
        self.optional_shown(key, |_| quote("***")).map(Secret::new)
    }

    /// An optional value that is more than a text. Empty means not set.
    pub(super) fn optional_parsed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let both = |raw: &Raw| {
            let given = text(raw)?;
            if given.is_empty() {
                return Some((None, String::new()));
            }
            Some((Some(parse(given)?), quote(given)))
        };
        let value = self
            .take(key, "", expected, both, |(_, shown)| shown.clone())
            .and_then(|(value, _)| value);
        if value.is_none() {
            self.findings.shown.remove(key);
        }
        value
    }

    fn optional_shown(
        &mut self,
        key: &'static str,
        show: impl Fn(&str) -> String,
    ) -> Option<String> {
        let parse = |raw: &Raw| text(raw).map(str::to_owned);
        let value = self
            .take(key, "", "a text", parse, |text| show(text))
            .filter(|text| !text.is_empty());
        if value.is_none() {
            self.findings.shown.remove(key);
        }
        value
    }
}

fn text(raw: &Raw) -> Option<&str> {
    match raw {
        Raw::Toml(value) => value.as_str(),
        Raw::Text(text) => Some(text),
    }
}

/// As a TOML string.
fn quote(text: &str) -> String {
    toml::Value::from(text).to_string()
}
