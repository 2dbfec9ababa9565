//! Query parameters: which a route has, and their values.

use axum::{extract::FromRequestParts, http::request::Parts};
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use super::{
    AppState,
    problem::{FieldErrors, Problem},
};
use crate::model::{ParseError, Timestamp};

/// The query parameters of a route as a struct of options.
pub(super) struct Params<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<AppState> for Params<T> {
    type Rejection = Problem;
    async fn from_request_parts(parts: &mut Parts, _: &AppState) -> Result<Self, Problem> {
        read(parts.uri.query().unwrap_or_default()).map(Self)
    }
}

fn read<T: DeserializeOwned>(query: &str) -> Result<T, Problem> {
    let pairs = form_urlencoded::parse(query.as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs))
        .map_err(|error| Problem::field(format!("?{}", error.path()), error.inner().to_string()))
}

/// Refuses parameters that a route does not have, and those that stand twice: a caller who wrote
/// one expects it to count.
///
/// # Errors
/// The problem that names each of them.
pub(super) fn check(query: &str, allowed: &'static [&'static str]) -> Result<(), Problem> {
    let mut errors = FieldErrors::default();
    let mut seen = Vec::new();
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        if !allowed.contains(&name.as_ref()) {
            let detail = if allowed.is_empty() {
                "is not known: this route has no query parameters".to_owned()
            } else {
                format!("is not known: this route has {}", allowed.join(", "))
            };
            errors.add(format!("?{name}"), detail);
        } else if seen.contains(&name) {
            errors.add(format!("?{name}"), "stands twice");
        }
        seen.push(name);
    }
    errors.unless_any(())
}

/// A time in a query. A `+` that is not written as `%2B` arrives as a blank, and no time has a
/// blank before its offset.
///
/// # Errors
/// The problem that names the parameter.
pub(super) fn time(
    text: Option<&String>,
    pointer: &'static str,
) -> Result<Option<Timestamp>, Problem> {
    let parse = |text: &String| -> Result<Timestamp, ParseError> {
        match text.rsplit_once(' ') {
            Some((time, offset)) if time.contains(['T', 't']) => format!("{time}+{offset}").parse(),
            _ => text.parse(),
        }
    };
    text.map(parse)
        .transpose()
        .map_err(|error| Problem::field(pointer, error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[test]
    fn parameters_that_a_route_does_not_have_are_named() {
        assert!(check("", &[]).is_ok());
        assert!(check("limit=1", &["limit"]).is_ok());
        for (query, expected) in [
            ("limit=1", vec!["?limit"]),
            ("a&b=%26", vec!["?a", "?b"]),
            ("=1", vec!["?"]),
            ("%ff=1", vec!["?\u{fffd}"]),
        ] {
            let problem = check(query, &[]).expect_err(query);
            assert_eq!(problem.pointers(), expected, "{query}");
        }
        let problem = check("limit=1&%6Cimit=2", &["limit"]).expect_err("twice");
        assert_eq!(problem.pointers(), ["?limit"]);
    }

    #[derive(Debug, Deserialize)]
    struct Example {
        limit: Option<u8>,
    }

    #[test]
    fn values_of_the_wrong_type_name_their_parameter() {
        let read_limit = |query| read::<Example>(query).map(|example| example.limit);
        assert_eq!(read_limit("limit=7").expect("a number"), Some(7));
        assert_eq!(read_limit("").expect("none"), None);
        for query in ["limit=seven", "limit=256", "limit=-1", "limit="] {
            let problem = read_limit(query).expect_err(query);
            assert_eq!(problem.pointers(), ["?limit"], "{query}");
        }
    }

    #[test]
    fn a_blank_before_the_offset_is_a_plus() {
        let parse = |text: &str| time(Some(&text.to_owned()), "?since");
        let expected = parse("2025-12-31T22:00:00Z").expect("a time");
        for text in ["2026-01-01T00:00:00+02:00", "2026-01-01T00:00:00 02:00"] {
            assert_eq!(parse(text).expect(text), expected);
        }
        for text in ["2026-01-01 00:00:00 ", "2026-01-01T00:00:00 ", " ", ""] {
            assert_eq!(
                parse(text).expect_err(text).pointers(),
                ["?since"],
                "{text}"
            );
        }
    }
}
