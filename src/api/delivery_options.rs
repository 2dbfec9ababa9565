//! How a webhook's deliveries are sent: what callers can set and see.

use std::{collections::BTreeMap, str::FromStr};

use serde::Serialize;

use super::{
    given::Given,
    problem::{FieldErrors, Problem},
};
use crate::{
    model::{DeliveryOptions, Format, FormatOption, FormatOptions, Secret, SignatureScheme},
    policy::header::{HEADERS_MAX, check_header_name, check_header_value},
    wire::new_signing_key,
};

const TOO_MANY: &str = "a webhook has at most 16 headers; drop one with null";
/// How many characters at the end of a header's value are shown.
const HINT_CHARS: usize = 4;
/// Shorter values are not shown at all.
const HINTED_CHARS_MIN: usize = 16;

/// Headers to set; null drops one. Those that are not named stay.
pub(super) type Headers = BTreeMap<String, Option<String>>;

/// Options of the format to set; null drops one. Those that are not named stay.
pub(super) type FormatOptionChanges = BTreeMap<String, Option<String>>;

/// The part of a change that is about sending.
#[derive(Clone, Copy)]
pub(super) struct DeliveryOptionsChange<'a> {
    pub(super) format: &'a Given<String>,
    pub(super) format_options: &'a Given<FormatOptionChanges>,
    pub(super) signature: &'a Given<String>,
    pub(super) headers: &'a Given<Headers>,
}

impl DeliveryOptionsChange<'_> {
    /// Adds what is not valid.
    pub(super) fn check(self, errors: &mut FieldErrors) {
        let format = self.format.value().map(|text| text.parse::<Format>());
        errors.take("/format", format.transpose());
        for (name, value) in self.format_options.value().into_iter().flatten() {
            let option = name.parse::<FormatOption>();
            let checked =
                option.and_then(|option| value.as_deref().map_or(Ok(()), |v| option.check(v)));
            if let Err(error) = checked {
                errors.add(pointer_to("/format_options", name), error.to_string());
            }
        }
        let signature = self
            .signature
            .value()
            .map(|text| text.parse::<SignatureScheme>());
        errors.take("/signature", signature.transpose());
        let count = self
            .headers
            .value()
            .map_or(0, |headers| headers.values().flatten().count());
        errors.check(count <= HEADERS_MAX, "/headers", || TOO_MANY.to_owned());
        for (name, value) in self.headers.value().into_iter().flatten() {
            let checked = check_header_name(&name.to_ascii_lowercase());
            let checked =
                checked.and_then(|()| value.as_deref().map_or(Ok(()), check_header_value));
            if let Err(error) = checked {
                errors.add(pointer_to("/headers", name), error.to_string());
            }
        }
    }

    /// Puts it into a webhook.
    ///
    /// # Errors
    /// When that would make too many headers; then nothing is changed.
    pub(super) fn apply(self, sending: &mut DeliveryOptions) -> Result<(), Problem> {
        let mut headers = match self.headers {
            Given::Null => BTreeMap::new(),
            Given::Absent | Given::Value(_) => sending.headers.clone(),
        };
        for (name, value) in self.headers.value().into_iter().flatten() {
            let name = name.to_ascii_lowercase();
            match value {
                Some(value) => headers.insert(name, Secret::new(value.clone())),
                None => headers.remove(&name),
            };
        }
        if headers.len() > HEADERS_MAX {
            return Err(Problem::field("/headers", TOO_MANY));
        }
        sending.headers = headers;
        sending.format = changed(self.format, sending.format);
        let options = &mut sending.format_options.0;
        if *self.format_options == Given::Null {
            options.clear();
        }
        for (name, value) in self.format_options.value().into_iter().flatten() {
            match value {
                Some(value) => options.insert(name.clone(), value.clone()),
                None => options.remove(name),
            };
        }
        sending.signature = changed(self.signature, sending.signature);
        if sending.signature.has_ed25519() && sending.keys.is_empty() {
            sending.keys.push(new_signing_key());
        }
        Ok(())
    }
}

/// What a field becomes whose text was checked.
fn changed<T: FromStr + Default>(given: &Given<String>, before: T) -> T {
    match given {
        Given::Absent => before,
        Given::Null => T::default(),
        Given::Value(text) => text.parse().unwrap_or(before),
    }
}

/// RFC 6901: a pointer has its own meaning for two characters.
fn pointer_to(parent: &str, name: &str) -> String {
    let name = name.replace('~', "~0").replace('/', "~1");
    format!("{parent}/{name}")
}

/// What callers see of it: no value of a header, no private key.
#[derive(Serialize)]
pub(super) struct DeliveryOptionsView {
    format: &'static str,
    format_options: FormatOptions,
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
            format_options: sending.format_options.clone(),
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

/// The end of a long value, nothing of a short one.
fn hint(value: &str) -> String {
    let shown = if value.len() < HINTED_CHARS_MIN {
        ""
    } else {
        &value[value.len() - HINT_CHARS..]
    };
    format!("…{shown}")
}
