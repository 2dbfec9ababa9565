//! What was done to the streams, and how they differ.

use std::fmt;

/// What `apply` did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Like `stream WA_MSG`.
    pub what: String,
    /// Whether it was missing before.
    pub created: bool,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}",
            if self.created { "created" } else { "updated" },
            self.what
        )
    }
}

/// How the server differs from the declaration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Like `stream WA_MSG`.
    pub what: String,
    /// Like `max_bytes`; empty when the whole thing is missing.
    pub field: String,
    /// As declared.
    pub expected: String,
    /// As found.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            field,
            expected,
            found,
        } = self;
        if field.is_empty() {
            return write!(f, "{what} is missing");
        }
        write!(f, "{what}: {field} is {found}, declared {expected}")
    }
}
