//! Messages that came without their content, and may come again with it.
//!
//! WhatsApp or its client may give the content later: the sender's phone encrypts it again, or the
//! account's phone passes it on. That message has the same id, and is marked as what replaces the
//! earlier one.

use std::sync::{Mutex, MutexGuard, PoisonError};

use whatsapp_rust::types::message::MessageInfo;

use super::recent::Recent;
use crate::wire;

/// Messages that a session remembers; about 120 bytes each.
const REMEMBERED_MAX: usize = 1024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// The client has reported it, and nobody was told.
    Reported,
    /// The webhook was told that it cannot be read.
    Told,
    /// Its content has come.
    Read,
}

/// What a session knows of them.
#[derive(Default)]
pub(super) struct Unread(Mutex<Remembered>);

struct Remembered {
    steps: Recent<String, Step>,
}

impl Default for Remembered {
    fn default() -> Self {
        Self {
            steps: Recent::new(REMEMBERED_MAX),
        }
    }
}

impl Unread {
    /// The client reports it. Before its content can come: the client asks for that afterwards.
    pub(super) fn report(&self, info: &MessageInfo) {
        self.lock().add(key(info), Step::Reported);
    }

    /// Whether the webhook is to be told now that it cannot be read. Not once its content has come.
    pub(super) fn tell(&self, info: &MessageInfo) -> bool {
        self.lock().tell(key(info))
    }

    /// Its content has come; whether the webhook was told that it cannot be read. The same again
    /// when the content comes twice.
    pub(super) fn read(&self, info: &MessageInfo) -> bool {
        self.lock().read(&key(info))
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Senders choose the ids of messages, so one sender's must not stand for another's.
fn key(info: &MessageInfo) -> String {
    let source = &info.source;
    wire::dedupe_id(&[
        &source.chat.to_non_ad_string(),
        &source.sender.to_non_ad_string(),
        &info.id,
    ])
}

impl Remembered {
    fn add(&mut self, key: String, step: Step) {
        if self.steps.get(&key).is_none() {
            self.steps.insert(key, step);
        }
    }

    fn tell(&mut self, key: String) -> bool {
        match self.steps.get_mut(&key) {
            Some(Step::Read) => false,
            Some(step) => {
                *step = Step::Told;
                true
            }
            None => {
                self.add(key, Step::Told);
                true
            }
        }
    }

    fn read(&mut self, key: &str) -> bool {
        match self.steps.get_mut(key) {
            Some(Step::Told) => true,
            Some(step) => {
                *step = Step::Read;
                false
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_replaces_what_was_told_and_only_that() {
        let mut known = Remembered::default();
        assert!(!known.read("never reported"));
        known.add("a".to_owned(), Step::Reported);
        assert!(known.tell("a".to_owned()));
        assert!(known.read("a"));
        assert!(known.read("a"), "a second copy is marked, too");
        known.add("b".to_owned(), Step::Reported);
        assert!(!known.read("b"), "the content was faster");
        assert!(!known.tell("b".to_owned()));
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut known = Remembered::default();
        for number in 0..3 * REMEMBERED_MAX {
            known.tell(number.to_string());
        }
        assert_eq!(known.steps.len(), REMEMBERED_MAX);
        assert!(!known.read("0"));
        assert!(known.read(&(3 * REMEMBERED_MAX - 1).to_string()));
    }
}
