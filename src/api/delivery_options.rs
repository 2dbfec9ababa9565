//! What can be set of how a webhook's deliveries are sent, and what is shown of it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::problem::{FieldError, Problem};
use crate::{
    model::{DeliveryOptions, Format, Secret, SignatureScheme},
    policy::header::{HEADERS_MAX, check_header_name, check_header_value},
    wire::new_signing_key,
};

const TOO_MANY: &str = "a webhook has at most 16 headers; drop one with null";
/// Characters at the end of a header's value that are shown, and how long it must be for that.
const HINT: usize = 4;
const HINT_FROM: usize = 16;

/// Headers to set, or with null to drop; what is not named stays.
pub(super) type Headers = BTreeMap<String, Option<String>>;

/// The part of a change that is about sending. Absent means unchanged.
#[derive(Clone, Copy)]
pub(super) struct DeliveryOptionsChange<'a> {
    pub(super) format: Option<&'a String>,
    pub(super) signature: Option<&'a String>,
    pub(super) headers: Option<&'a Headers>,
}

impl DeliveryOptionsChange<'_> {
    /// All that is wrong with it.
    pub(super) fn errors(self) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut wrong = |pointer: String, detail: String| {
            errors.push(FieldError {
                pointer: pointer.into(),
                detail,
            })
        };
        if let Some(Err(error)) = self.format.map(|text| text.parse::<Format>()) {
            wrong("/format".to_owned(), error.to_string());
        }
        if let Some(Err(error)) = self.signature.map(|text| text.parse::<SignatureScheme>()) {
            wrong("/signature".to_owned(), error.to_string());
        }
        if self
            .headers
            .is_some_and(|headers| headers.values().flatten().count() > HEADERS_MAX)
        {
            wrong("/headers".to_owned(), TOO_MANY.to_owned());
        }
        for (name, value) in self.headers.into_iter().flatten() {
            let checked = check_header_name(&name.to_ascii_lowercase());
            let checked =
                checked.and_then(|()| value.as_deref().map_or(Ok(()), check_header_value));
            if let Err(error) = checked {
                // RFC 6901: the name may hold what a pointer takes for itself.
                wrong(
                    format!("/headers/{}", name.replace('~', "~0").replace('/', "~1")),
                    error.to_string(),
                );
            }
        }
        errors
    }

    /// Puts it into a webhook; `None`, and nothing is changed, when that would make too many
    /// headers.
    pub(super) fn apply(self, sending: &mut DeliveryOptions) -> Option<()> {
        let mut headers = sending.headers.clone();
        for (name, value) in self.headers.into_iter().flatten() {
            let name = name.to_ascii_lowercase();
            match value {
                Some(value) => headers.insert(name, Secret::new(value.clone())),
                None => headers.remove(&name),
            };
        }
        if headers.len() > HEADERS_MAX {
            return None;
        }
        sending.headers = headers;
        sending.format = self
            .format
            .and_then(|text| text.parse().ok())
            .unwrap_or(sending.format);
        sending.signature = self
            .signature
            .and_then(|text| text.parse().ok())
            .unwrap_or(sending.signature);
        if sending.signature.has_ed25519() && sending.keys.is_empty() {
            sending.keys.push(new_signing_key());
        }
        Some(())
    }
}

/// What is said of [`apply`](DeliveryOptionsChange::apply)'s `None`.
pub(super) fn too_many_headers() -> Problem {
    Problem::field("/headers", TOO_MANY)
}

/// What callers see of it: no value of a header, no private key.
#[derive(Serialize)]
pub(super) struct DeliveryOptionsView {
    format: &'static str,
    signature: &'static str,
    public_keys: Vec<String>,
    headers: BTreeMap<String, String>,
}

impl From<&DeliveryOptions> for DeliveryOptionsView {
    fn from(sending: &DeliveryOptions) -> Self {
        let keys = sending
            .keys
            .iter()
            .filter(|_| sending.signature.has_ed25519());
        Self {
            format: sending.format.as_str(),
            signature: sending.signature.as_str(),
            public_keys: keys.map(|key| key.public()).collect(),
            headers: sending
                .headers
                .iter()
                .map(|(name, value)| (name.clone(), hint(value.expose())))
                .collect(),
        }
    }
}

/// Enough to recognise a long value by, nothing of a short one.
fn hint(value: &str) -> String {
    let shown = if value.len() < HINT_FROM {
        ""
    } else {
        &value[value.len() - HINT..]
    };
    format!("…{shown}")
}
