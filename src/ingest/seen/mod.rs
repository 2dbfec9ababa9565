//! Which messages a session has published, so that history that is fetched later is published only
//! where it was missed.
//!
//! The newest messages are remembered by their hashes, and the newest one of each chat by its id:
//! WhatsApp gives history as what lies before a known message. Both are stored beside the session's
//! keys every few seconds. What a kill takes with it lies within the time in which the stream
//! drops a second copy by itself.

mod memory;
mod stored;

use std::sync::{Mutex, MutexGuard, PoisonError};

use whatsapp_rust::{store::traits::Backend, types::message::MessageInfo};

pub(super) use self::memory::Anchor;
use self::{
    memory::{Memory, load},
    stored::Head,
};
use crate::{model::Timestamp, wire};

/// The messages that one session has published.
#[derive(Default)]
pub(super) struct Seen(Mutex<Memory>);

/// Whether a session was linked before it had a memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Linked {
    Before,
    Now,
}

impl Seen {
    /// Reads what is stored. Where nothing is, what a linked session published before `now` is not
    /// known.
    pub(super) async fn load(
        &self,
        backend: &dyn Backend,
        linked: Linked,
        now: Timestamp,
    ) -> anyhow::Result<()> {
        let memory = match load(backend).await? {
            Some(memory) => memory,
            None => Memory {
                head: Head {
                    complete_since_ms: match linked {
                        Linked::Before => now.millis(),
                        Linked::Now => 0,
                    },
                    next: 0,
                },
                ..Memory::default()
            },
        };
        let head = wire::encode_key_value(&memory.head);
        backend
            .put_group_metadata(&stored::head_row(), &head)
            .await?;
        *self.lock() = memory;
        Ok(())
    }

    /// Stores what is new.
    pub(super) async fn store(&self, backend: &dyn Backend) {
        let rows = self.lock().take_rows();
        for (name, value) in rows {
            if backend.put_group_metadata(&name, &value).await.is_err() {
                // The client finds out by its own writes.
                return tracing::debug!("which messages were published could not be stored");
            }
        }
    }

    /// It is published. `chat`: as webhooks show it.
    pub(super) fn note(&self, info: &MessageInfo, chat: &str) {
        self.lock().note(info, chat);
    }

    /// The same of a message of the past, which is not the newest of its chat.
    pub(super) fn note_late(&self, info: &MessageInfo) {
        self.lock().note_hash(info);
    }

    /// Whether it was published, or may have been: before the memory begins nothing is known.
    pub(super) fn has(&self, info: &MessageInfo) -> bool {
        let memory = self.lock();
        info.timestamp.timestamp_millis() < memory.head.complete_since_ms || memory.has(info)
    }

    /// Since when all that was published is remembered.
    pub(super) fn complete_since(&self) -> Timestamp {
        Timestamp::from_millis(self.lock().head.complete_since_ms)
    }

    /// The newest message of each chat, the newest chat first.
    pub(super) fn anchors(&self) -> Vec<Anchor> {
        self.lock().anchors()
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
