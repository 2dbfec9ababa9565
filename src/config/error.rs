//! What can be wrong with settings. No error repeats a value: it may be a secret.

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

/// Control characters are escaped: a dump shows origins in comments, and those end with the line.
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

/// One thing that is wrong.
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
    /// The file is no TOML.
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
        /// As it was written.
        key: String,
        /// Who wrote it.
        origin: Origin,
        /// The nearest key there is, or where all of them stand.
        remedy: String,
    },
    /// Of the wrong type, or out of bounds.
    #[error("{key} ({origin}): write {expected}")]
    Invalid {
        /// The dotted key.
        key: String,
        /// Who set it.
        origin: Origin,
        /// What is allowed.
        expected: String,
    },
    /// Two keys that do not go together.
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
    /// The key it is about, if it is about one.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Unreadable { .. } | Self::Syntax { .. } => None,
            Self::Unknown { key, .. } | Self::Invalid { key, .. } | Self::Conflict { key, .. } => {
                Some(key)
            }
        }
    }
}

/// Everything that is wrong, one line each. Never empty.
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
