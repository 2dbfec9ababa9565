//! Ends queries that nobody waits for any more.
//!
//! A caller with a deadline drops its future, but a query goes on in its thread and keeps its
//! connection. A few of them would keep all.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, InterruptHandle};

/// How far a query is.
enum State {
    Waiting,
    Running(InterruptHandle),
    Over,
    /// Nobody waits for it.
    Abandoned,
}

/// The part that the query's thread has.
pub(super) struct Running(Arc<Mutex<State>>);

/// The part that the caller has: dropping it ends the query.
pub(super) struct Waiting(Arc<Mutex<State>>);

/// Both parts for one query.
pub(super) fn pair() -> (Running, Waiting) {
    let state = Arc::new(Mutex::new(State::Waiting));
    (Running(Arc::clone(&state)), Waiting(state))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Running {
    /// Runs the query on this connection; `None` when nobody waits for it.
    pub(super) fn run<T>(self, connection: &Connection, query: impl FnOnce() -> T) -> Option<T> {
        {
            let mut state = lock(&self.0);
            if matches!(*state, State::Abandoned) {
                return None;
            }
            *state = State::Running(connection.get_interrupt_handle());
        }
        let answer = query();
        // From here on the connection may serve another query, which must not be interrupted.
        *lock(&self.0) = State::Over;
        Some(answer)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        *lock(&self.0) = State::Over;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        match &*state {
            State::Running(handle) => handle.interrupt(),
            State::Waiting => *state = State::Abandoned,
            State::Over | State::Abandoned => {}
        }
    }
}
