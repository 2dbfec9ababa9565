//! What can go wrong with the store.

use std::{borrow::Cow, error::Error as StdError, sync::Arc};

/// What a caller may branch on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// It cannot be opened as it is; the error's text says what to do.
    Open,
    /// It failed at this; trying again may help.
    Failed,
    /// It did not answer in time; trying again may help.
    Timeout,
    /// It will never take this, however often it is tried.
    Refused,
    /// It is closed: the process ends.
    Closed,
}

/// Why the store did not do it. Its text leaves out the cause, which is its source.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    kind: ErrorKind,
    text: Cow<'static, str>,
    #[source]
    // Shared: one failed commit is the answer to every writer of its group.
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error without a cause.
    pub(super) fn new(kind: ErrorKind, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            text: text.into(),
            source: None,
        }
    }

    /// The same, with its cause.
    #[must_use]
    pub(super) fn because(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self {
            source: Some(Arc::from(source.into())),
            ..self
        }
    }

    /// It cannot be opened; the text says what to do.
    pub(super) fn open(text: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Open, text)
    }

    /// Trying again may help.
    pub(super) fn failed(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::new(ErrorKind::Failed, "the store failed").because(source)
    }

    /// The process ends.
    pub(super) fn closed() -> Self {
        Self::new(ErrorKind::Closed, "the store is closed")
    }

    /// What to branch on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}
