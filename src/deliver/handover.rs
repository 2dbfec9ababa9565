//! Messages that a loop gives back together when its partition goes to another node.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::bus::Incoming;

/// The messages of one loop that were taken up and not attempted. They wait here until nothing of
/// the loop is in flight, so that the next node gets all of them in their order. A loop has no more
/// than its slots.
#[derive(Default)]
pub(super) struct Handover(Mutex<State>);

enum State {
    /// The loop runs, or is about to give back.
    Open(Vec<Incoming>),
    /// It has given back.
    Over,
}

impl Default for State {
    fn default() -> Self {
        Self::Open(Vec::new())
    }
}

impl Handover {
    /// Keeps a message until the loop gives back. Gives it back at once if the loop has done so.
    pub(super) async fn add(&self, incoming: Incoming) {
        let late = match &mut *self.state() {
            State::Open(messages) => {
                messages.push(incoming);
                None
            }
            State::Over => Some(incoming),
        };
        if let Some(incoming) = late {
            incoming.nak(None).await;
        }
    }

    /// What was kept. The loop gives it back now.
    pub(super) fn take(&self) -> Vec<Incoming> {
        match std::mem::replace(&mut *self.state(), State::Over) {
            State::Open(messages) => messages,
            State::Over => Vec::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
