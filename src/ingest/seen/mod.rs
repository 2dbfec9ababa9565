//! Which messages a session has published, so that history that is fetched later is published only
//! where it was missed.
//!
//! The newest messages are remembered by their hashes, and the newest one of each chat by its id:
//! WhatsApp gives history as what lies before a known message. Both are stored beside the session's
//! keys every few seconds. A kill takes the last seconds with it: history of that time may be
//! published once more.

mod memory;
mod stored;

use std::{
    collections::HashSet,
    sync::{Mutex, MutexGuard, PoisonError},
};

use whatsapp_rust::{store::traits::Backend, types::message::MessageInfo};

pub(super) use self::memory::Anchor;
use self::{
    memory::{Author, Memory, hash, hash_of, load},
    stored::Head,
};
use crate::{model::Timestamp, wire};

/// The messages that one session has published.
#[derive(Default)]
pub(super) struct Seen(Mutex<Memory>);

/// What was published at one time.
pub(super) struct Published {
    complete_since_ms: i64,
    hashes: HashSet<u64>,
}

impl Published {
    /// Whether it was published, or may have been: before the memory begins nothing is known.
    pub(super) fn has(&self, info: &MessageInfo) -> bool {
        let is_before = info.timestamp.timestamp_millis() < self.complete_since_ms;
        is_before || self.hashes.contains(&hash(info))
    }

    pub(super) fn add(&mut self, info: &MessageInfo) {
        self.hashes.insert(hash(info));
    }
}

impl Seen {
    /// Reads what is stored. Where nothing is, the session may have published what came before
    /// `unknown_before`.
    pub(super) async fn load(
        &self,
        backend: &dyn Backend,
        unknown_before: Timestamp,
    ) -> anyhow::Result<()> {
        let memory = match load(backend).await? {
            Some(memory) => memory,
            None => Memory {
                head: Head {
                    complete_since_ms: unknown_before.millis(),
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
        let (rows, new) = {
            let mut memory = self.lock();
            let rows = memory.rows();
            (rows, memory.begin_storing())
        };
        for (name, value) in rows {
            if backend.put_group_metadata(&name, &value).await.is_err() {
                // The client finds out by its own writes.
                tracing::debug!("which messages were published could not be stored");
                return self.lock().put_back(new);
            }
        }
    }

    /// It is published. `chat`: as webhooks show it.
    pub(super) fn note(&self, info: &MessageInfo, chat: &str) {
        self.lock().note(info, chat);
    }

    /// The same of a message of the past, which is not the newest of its chat.
    pub(super) fn note_late(&self, info: &MessageInfo) {
        let at_ms = info.timestamp.timestamp_millis();
        self.lock().note_hash(hash(info), at_ms);
    }

    /// The session itself sends it, so it is nothing that was missed. `to`: an id of WhatsApp's.
    pub(super) fn note_sent(&self, id: &str, to: &str, now: Timestamp) {
        let group = if to.ends_with("@g.us") { to } else { "" };
        let hash = hash_of(id, group, Author::Own);
        self.lock().note_hash(hash, now.millis());
    }

    /// Whether it is remembered as published.
    pub(super) fn has(&self, info: &MessageInfo) -> bool {
        self.lock().has(hash(info))
    }

    /// What was published until now.
    pub(super) fn published(&self) -> Published {
        let memory = self.lock();
        Published {
            complete_since_ms: memory.head.complete_since_ms,
            hashes: memory.published.iter().map(|(hash, _)| *hash).collect(),
        }
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
