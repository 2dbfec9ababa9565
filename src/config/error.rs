//! Errors in settings. No error repeats a value, because it may be a secret.

use std::{fmt, path::PathBuf};

/// Who set a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// `config/default.toml`.
    Default,
    /// The file given with `--config`.
    File(PathBuf),
    /// A variable of this name.
    Env(String),
    /// A flag for this key.
    Flag(String),
}

/// Control characters are escaped, because a dump shows origins in comments of one line.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.to_string_lossy().escape_debug()),
            Self::Env(name) => write!(f, "variable {}", name.escape_debug()),
            Self::Flag(key) => write!(f, "flag {}", key.escape_debug()),
        }
    }
}

/// One error.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error(
        "{origin}: cannot be read ({reason}); check the path given with --config and the file's \
         permissions"
    )]
    Unreadable {
        /// The file.
        origin: Origin,
        /// What the system said.
        reason: String,
    },
    /// The file is not TOML.
    #[error("{origin}: line {line} is no TOML ({reason}); correct it and run again")]
    Syntax {
        /// The file.
        origin: Origin,
        /// Counted from 1.
        line: usize,
        /// What the parser said.
        reason: String,
    },
    /// There is no such key.
    #[error("{key} ({origin}): no such setting; {remedy}")]
    Unknown {
        /// The key as it was written.
        key: String,
        /// Who wrote it.
        origin: Origin,
        /// The most similar key, or where all keys are documented.
        remedy: String,
    },
    /// The value has the wrong type or is out of bounds.
    #[error("{key} ({origin}): write {expected}")]
    Invalid {
        /// The dotted key.
        key: String,
        /// Who set it.
        origin: Origin,
        /// What is allowed.
        expected: String,
    },
    /// The value is well formed, but what it names cannot be used.
    #[error("{key} ({origin}): {reason}; {remedy}")]
    Unusable {
        /// The dotted key.
        key: String,
        /// Who set it.
        origin: Origin,
        /// What is wrong.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// Two keys contradict each other.
    #[error("{key} ({origin}): {reason}; {remedy}")]
    Conflict {
        /// The dotted key to change.
        key: String,
        /// Who set it.
        origin: Origin,
        /// What it must be, and why.
        reason: String,
        /// What to do.
        remedy: String,
    },
}

impl Error {
    /// The key that it is about, if there is one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Unreadable { .. } | Self::Syntax { .. } => None,
            Self::Unknown { key, .. }
            | Self::Invalid { key, .. }
            | Self::Unusable { key, .. }
            | Self::Conflict { key, .. } => Some(key),
        }
    }
}

/// All errors, one per line. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors(pub Vec<Error>);

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.0.len() == 1 { "" } else { "s" };
        write!(f, "{} error{plural} in the configuration:", self.0.len())?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for Errors {}
