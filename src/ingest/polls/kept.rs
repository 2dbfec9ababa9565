//! Polls beside a session's keys.
//!
//! The client's storage has no place for them, and both homes of keys have the same tables. A
//! poll lies where the client keeps what it knows of a group, under a name that no group has. The
//! client neither lists nor clears these rows.

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;
use whatsapp_rust::{
    Jid,
    store::{error::Result, traits::Backend},
    wacore_binary::JidExt as _,
};

use crate::{ingest::content::Asked, model::Timestamp, wire};

/// Polls that a session keeps.
const POLLS_MAX: usize = 256;
/// Polls of one chat among them, so that a chat full of polls costs the others nothing.
const CHAT_POLLS_MAX: usize = 64;
/// Bytes of one poll's texts; all polls of a session take half a MiB at most. Longer ones lose
/// their last options, which votes then name by hash.
const TEXT_BYTES_MAX: usize = 2 * 1024;
/// How long votes are read: 90 days, as long as the client keeps secrets of polls.
const AGE_MAX_MS: i64 = 90 * 24 * 60 * 60 * 1000;

/// One poll.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Poll {
    id: String,
    chat: String,
    /// The names of who asked: his number, his LID, or both.
    creators: Vec<String>,
    secret: ByteBuf,
    question: String,
    options: Vec<String>,
    kept_at_ms: i64,
}

impl Poll {
    pub(super) fn new(id: &str, chat: &Jid, creators: &[Jid], asked: Asked) -> Self {
        let mut left = TEXT_BYTES_MAX;
        let end = asked.question.floor_char_boundary(left);
        let question = asked.question[..end].to_owned();
        left -= question.len();
        let fits = |name: &String| {
            let fits = name.len() <= left;
            left = left.saturating_sub(name.len());
            fits
        };
        Self {
            id: id.to_owned(),
            chat: chat.to_non_ad_string(),
            creators: creators.iter().map(Jid::to_non_ad_string).collect(),
            secret: ByteBuf::from(asked.secret),
            question,
            options: asked.options.into_iter().take_while(fits).collect(),
            kept_at_ms: 0,
        }
    }

    pub(super) fn creators(&self) -> impl Iterator<Item = Jid> {
        self.creators.iter().filter_map(|name| name.parse().ok())
    }

    pub(super) fn secret(&self) -> &[u8] {
        &self.secret
    }

    pub(super) fn question(&self) -> &str {
        &self.question
    }

    pub(super) fn options(&self) -> &[String] {
        &self.options
    }

    fn is_same(&self, other: &Self) -> bool {
        let is_one = (&self.id, &self.chat) == (&other.id, &other.chat);
        // Senders choose the ids of messages.
        is_one && self.creators.first() == other.creators.first()
    }

    fn is_live(&self, now: Timestamp) -> bool {
        self.kept_at_ms + AGE_MAX_MS > now.millis()
    }

    /// In a group the vote comes in the poll's own chat. A person's chat may be named by a number
    /// or a LID.
    fn may_be_in(&self, chat: &Jid) -> bool {
        self.chat == chat.to_non_ad_string() || !chat.is_group() && !self.chat.ends_with("@g.us")
    }
}

/// The polls of a session: a copy of what is stored, once it was read.
#[derive(Default)]
pub(super) struct Kept {
    is_read: bool,
    slots: Vec<Option<Poll>>,
}

impl Kept {
    async fn read(&mut self, backend: &dyn Backend) -> Result<()> {
        if self.is_read {
            return Ok(());
        }
        let mut slots = Vec::new();
        for slot in 0..POLLS_MAX {
            let stored = backend.get_group_metadata(&row(slot)).await?;
            // They are filled in turn: the first that is empty ends them.
            let Some(stored) = stored else {
                break;
            };
            slots.push(wire::decode_key_value(&stored));
        }
        self.slots = slots;
        self.is_read = true;
        Ok(())
    }

    /// Stores a poll.
    pub(super) async fn put(
        &mut self,
        backend: &dyn Backend,
        mut poll: Poll,
        now: Timestamp,
    ) -> Result<()> {
        self.read(backend).await?;
        poll.kept_at_ms = now.millis();
        let slot = self.slot_for(&poll, now);
        let stored = wire::encode_key_value(&poll);
        backend.put_group_metadata(&row(slot), &stored).await?;
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(poll);
        Ok(())
    }

    /// The polls of that id which may be meant in a chat.
    pub(super) async fn find(
        &mut self,
        backend: &dyn Backend,
        id: &str,
        chat: &Jid,
        now: Timestamp,
    ) -> Result<Vec<Poll>> {
        self.read(backend).await?;
        let polls = self.slots.iter().flatten();
        let meant = |poll: &&Poll| poll.id == id && poll.is_live(now) && poll.may_be_in(chat);
        Ok(polls.filter(meant).cloned().collect())
    }

    /// Its own slot; else the oldest of its chat if that has many; else one that is free, or was
    /// never used, or is the oldest of all.
    fn slot_for(&self, poll: &Poll, now: Timestamp) -> usize {
        let taken = || {
            let slots = self.slots.iter().enumerate();
            slots.filter_map(|(slot, poll)| Some((slot, poll.as_ref()?)))
        };
        if let Some((slot, _)) = taken().find(|(_, known)| known.is_same(poll)) {
            return slot;
        }
        let of_chat: Vec<_> = taken()
            .filter(|(_, known)| known.chat == poll.chat)
            .collect();
        if of_chat.len() >= CHAT_POLLS_MAX {
            return oldest(of_chat.into_iter());
        }
        let is_free = |poll: &Option<Poll>| !poll.as_ref().is_some_and(|poll| poll.is_live(now));
        if let Some(slot) = self.slots.iter().position(is_free) {
            return slot;
        }
        if self.slots.len() < POLLS_MAX {
            return self.slots.len();
        }
        oldest(taken())
    }
}

fn oldest<'a>(polls: impl Iterator<Item = (usize, &'a Poll)>) -> usize {
    let oldest = polls.min_by_key(|(_, poll)| poll.kept_at_ms);
    oldest.map_or(0, |(slot, _)| slot)
}

/// The name of a row. No group has one like it.
fn row(slot: usize) -> String {
    format!("wahook/poll/{slot}")
}

#[cfg(test)]
mod tests;
