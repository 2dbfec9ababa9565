//! Fields of a request that are not valid.

use std::borrow::Cow;

use serde::Serialize;

use super::Problem;
use crate::model::Phone;

/// One field that is not valid.
#[derive(Debug, Clone, Serialize)]
pub(in crate::api) struct FieldError {
    /// JSON pointer into the body, `?name` for a query parameter, or `header:name`.
    pub(super) pointer: Cow<'static, str>,
    /// What is wrong and what would be right.
    pub(super) detail: String,
}

/// All fields of one request that are not valid.
#[derive(Debug, Default)]
pub(in crate::api) struct FieldErrors(Vec<FieldError>);

impl FieldErrors {
    /// Adds one.
    pub(in crate::api) fn add(
        &mut self,
        pointer: impl Into<Cow<'static, str>>,
        detail: impl Into<String>,
    ) {
        self.0.push(FieldError {
            pointer: pointer.into(),
            detail: detail.into(),
        });
    }

    /// Adds one unless `is_valid`.
    pub(in crate::api) fn check(
        &mut self,
        is_valid: bool,
        pointer: impl Into<Cow<'static, str>>,
        detail: impl FnOnce() -> String,
    ) {
        if !is_valid {
            self.add(pointer, detail());
        }
    }

    /// The value, or its error is added.
    pub(in crate::api) fn take<T, E: ToString>(
        &mut self,
        pointer: impl Into<Cow<'static, str>>,
        value: Result<T, E>,
    ) -> Option<T> {
        value
            .map_err(|error| self.add(pointer, error.to_string()))
            .ok()
    }

    /// A phone number that a client can have. An absent one is an error too.
    pub(in crate::api) fn phone(
        &mut self,
        pointer: &'static str,
        text: Option<&str>,
    ) -> Option<Phone> {
        let Some(text) = text else {
            self.add(pointer, "is needed: 5 to 15 digits, without +");
            return None;
        };
        let phone: Phone = self.take(pointer, text.parse())?;
        if phone.is_operational() {
            self.add(pointer, "is a number that nobody can have");
            return None;
        }
        Some(phone)
    }

    /// The value, unless a field is not valid.
    ///
    /// # Errors
    /// The problem that names all of these fields.
    pub(in crate::api) fn unless_any<T>(self, value: T) -> Result<T, Problem> {
        if self.0.is_empty() {
            Ok(value)
        } else {
            Err(Problem::fields(self.0))
        }
    }

    /// The problem that names them.
    pub(in crate::api) fn into_problem(self) -> Problem {
        Problem::fields(self.0)
    }
}
