//! What this node has of one consumer, and what it settled a moment ago.
//!
//! The server may have handed out a message that reached nobody: its leader died before it sent it,
//! or the connection broke. And it may not have heard of an acknowledgement. With this book a node
//! can tell both from the messages that it works on, see [`super::reclaim`].

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::StoredAs;

/// Acknowledged messages that are remembered: twice as many as a consumer hands out at most before
/// the server has heard of the first one's.
const ACKNOWLEDGED_MAX: usize = 2_000;

/// How long what was given back is believed to be on its way.
const COMES_AGAIN_WITHIN: Duration = Duration::from_secs(10);

/// The book of one consumer.
#[derive(Default)]
pub(super) struct InHand(Mutex<State>);

#[derive(Default)]
struct State {
    /// How often each is here: it may be handed out again while it is worked on.
    held: HashMap<u64, usize>,
    /// Given back, not to come again before then.
    paused: HashMap<u64, Instant>,
    /// With their times: a stream that is made again has the same numbers.
    acknowledged: VecDeque<StoredAs>,
}

/// What this node knows of a message that the server has as handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    /// It is worked on, or comes again after a pause.
    Held,
    Acknowledged,
    Nothing,
}

/// A message in hand, until this is dropped.
pub(super) struct Held {
    book: Arc<InHand>,
    stored_as: StoredAs,
}

impl InHand {
    /// Notes that a message is worked on.
    pub(super) fn hold(self: &Arc<Self>, stored_as: StoredAs) -> Held {
        let mut state = self.state();
        *state.held.entry(stored_as.sequence).or_default() += 1;
        state.paused.remove(&stored_as.sequence);
        Held {
            book: Arc::clone(self),
            stored_as,
        }
    }

    /// Notes that a message was given back, and comes again soon.
    pub(super) fn given_back(&self, sequence: u64) {
        let until = Instant::now() + COMES_AGAIN_WITHIN;
        self.state().paused.insert(sequence, until);
    }

    /// What is known of a message.
    pub(super) fn known(&self, stored_as: StoredAs) -> Known {
        let sequence = stored_as.sequence;
        let mut state = self.state();
        let now = Instant::now();
        state.paused.retain(|_, until| *until > now);
        if state.held.contains_key(&sequence) || state.paused.contains_key(&sequence) {
            Known::Held
        } else if state.acknowledged.contains(&stored_as) {
            Known::Acknowledged
        } else {
            Known::Nothing
        }
    }

    /// How many messages are worked on, or pause.
    pub(super) fn count(&self) -> u64 {
        let mut state = self.state();
        let now = Instant::now();
        state.paused.retain(|_, until| *until > now);
        (state.held.len() + state.paused.len()) as u64
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing here leaves it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The server was told that it is done.
    pub(super) fn acknowledged(&self) {
        let mut state = self.book.state();
        if state.acknowledged.len() >= ACKNOWLEDGED_MAX {
            state.acknowledged.pop_front();
        }
        state.acknowledged.push_back(self.stored_as);
    }

    /// It is given back, to come again after this time.
    pub(super) fn paused(&self, after: Option<Duration>) {
        if let Some(after) = after {
            let until = Instant::now() + after;
            self.book
                .state()
                .paused
                .insert(self.stored_as.sequence, until);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.book.state();
        if let Entry::Occupied(mut held) = state.held.entry(self.stored_as.sequence) {
            *held.get_mut() -= 1;
            if *held.get() == 0 {
                held.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn stored(sequence: u64) -> StoredAs {
        StoredAs {
            at: Timestamp::EPOCH,
            sequence,
        }
    }

    #[test]
    fn a_message_is_held_until_it_is_settled() {
        let book = Arc::new(InHand::default());
        assert_eq!(book.known(stored(7)), Known::Nothing);
        let held = book.hold(stored(7));
        assert_eq!(book.known(stored(7)), Known::Held);
        held.acknowledged();
        drop(held);
        assert_eq!(book.known(stored(7)), Known::Acknowledged);
        drop(book.hold(stored(8)));
        assert_eq!(book.known(stored(8)), Known::Nothing);
    }

    #[test]
    fn a_message_that_pauses_is_held_until_its_time() {
        let book = Arc::new(InHand::default());
        let held = book.hold(stored(7));
        held.paused(Some(Duration::from_secs(60)));
        drop(held);
        assert_eq!(book.known(stored(7)), Known::Held);
        book.hold(stored(8)).paused(Some(Duration::ZERO));
        assert_eq!(book.known(stored(8)), Known::Nothing);
    }

    #[test]
    fn only_the_last_acknowledgements_are_remembered() {
        let book = Arc::new(InHand::default());
        for sequence in 0..=ACKNOWLEDGED_MAX as u64 {
            book.hold(stored(sequence)).acknowledged();
        }
        assert_eq!(book.known(stored(0)), Known::Nothing);
        assert_eq!(book.known(stored(1)), Known::Acknowledged);
    }

    #[test]
    fn a_number_of_a_stream_that_was_made_again_is_another_message() {
        let book = Arc::new(InHand::default());
        book.hold(stored(7)).acknowledged();
        let another = StoredAs {
            at: Timestamp::EPOCH.after(Duration::from_secs(1)),
            sequence: 7,
        };
        assert_eq!(book.known(another), Known::Nothing);
    }
}
