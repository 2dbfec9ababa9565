//! How far a request has come, for when its time is over.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use super::failure::{Failure, NotMade};

/// What a request waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Stage {
    /// Its turn to look a name up.
    Turn,
    /// The addresses of a name.
    Lookup,
    /// A connection.
    Connect,
    /// The answer.
    Answer,
}

/// The stage of one request, shared with the one who measures its time.
pub(super) struct StageCell {
    stage: AtomicU8,
    written: AtomicBool,
}

impl StageCell {
    pub(super) fn new() -> Self {
        Self {
            stage: AtomicU8::new(Stage::Connect as u8),
            written: AtomicBool::new(false),
        }
    }

    pub(super) fn set(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
        if stage == Stage::Answer {
            self.written.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the endpoint may have taken the request.
    pub(super) fn is_written(&self) -> bool {
        self.written.load(Ordering::Relaxed)
    }

    /// What it means that the time is over now.
    pub(super) fn timed_out(&self) -> Failure {
        let stage = self.stage.load(Ordering::Relaxed);
        if stage == Stage::Turn as u8 {
            Failure::NotMade(NotMade::Lookups)
        } else if stage == Stage::Lookup as u8 {
            Failure::Unresolved
        } else if stage == Stage::Connect as u8 {
            Failure::ConnectTimeout
        } else {
            Failure::Timeout
        }
    }
}
