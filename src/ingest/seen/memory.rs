//! What is remembered, and what of it is not stored yet.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use whatsapp_rust::{
    store::traits::Backend, types::message::MessageInfo, wacore_binary::JidExt as _,
};

use super::stored::{Head, anchor_row, hash_row, head_row, read};
use crate::wire;

/// Messages that a session remembers; 16 bytes each.
pub(super) const HASHES_MAX: usize = 2048;
/// Of these, in one row.
const ROW_HASHES: usize = 64;
/// Chats whose newest message is remembered; some 150 bytes each.
const CHATS_MAX: usize = 128;
/// An id that is longer than real ones is no anchor.
const ID_BYTES_MAX: usize = 128;

/// The newest message of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::ingest) struct Anchor {
    /// The id of the chat, with its domain.
    pub(in crate::ingest) chat: String,
    /// As webhooks show it.
    pub(in crate::ingest) shown: String,
    pub(in crate::ingest) message_id: String,
    pub(in crate::ingest) is_from_me: bool,
    pub(in crate::ingest) at_ms: i64,
}

/// A published message: its hash, and when it was written.
type Hashed = (u64, i64);

#[derive(Default)]
pub(super) struct Memory {
    pub(super) head: Head,
    pub(super) published: Vec<Hashed>,
    pub(super) anchors: Vec<Anchor>,
    pub(super) new_rows: BTreeSet<usize>,
    pub(super) new_anchors: BTreeSet<usize>,
}

/// The same message may come under the number or the LID of its chat and of its sender. So only a
/// group tells chats apart.
pub(super) fn hash(info: &MessageInfo) -> u64 {
    let source = &info.source;
    let group = if source.chat.is_group() {
        source.chat.to_non_ad_string()
    } else {
        String::new()
    };
    let author = if source.is_from_me {
        Author::Own
    } else {
        Author::Other
    };
    hash_of(&info.id, &group, author)
}

#[derive(Clone, Copy)]
pub(super) enum Author {
    Own,
    Other,
}

/// `group`: empty in the chat of a person.
pub(super) fn hash_of(id: &str, group: &str, author: Author) -> u64 {
    let author = match author {
        Author::Own => "own",
        Author::Other => "other",
    };
    let hash = wire::dedupe_id(&[id, group, author]);
    u64::from_str_radix(&hash[..16], 16).unwrap_or_default()
}

/// What was not stored yet.
pub(super) struct New {
    rows: BTreeSet<usize>,
    anchors: BTreeSet<usize>,
}

impl Memory {
    pub(super) fn has(&self, hash: u64) -> bool {
        self.published.iter().any(|(known, _)| *known == hash)
    }

    pub(super) fn note(&mut self, info: &MessageInfo, shown: &str) {
        self.note_anchor(info, shown, info.timestamp.timestamp_millis());
        self.note_hash(hash(info), info.timestamp.timestamp_millis());
    }

    pub(super) fn note_hash(&mut self, hash: u64, at_ms: i64) {
        if self.has(hash) {
            return;
        }
        let slot = self.head.next;
        let one = (hash, at_ms);
        match self.published.get_mut(slot) {
            Some(oldest) => {
                self.head.complete_since_ms = self.head.complete_since_ms.max(oldest.1 + 1);
                *oldest = one;
            }
            None => self.published.push(one),
        }
        self.head.next = (slot + 1) % HASHES_MAX;
        self.new_rows.insert(slot / ROW_HASHES);
    }

    fn note_anchor(&mut self, info: &MessageInfo, shown: &str, at_ms: i64) {
        let chat = &info.source.chat;
        // Channels and lists have no history that the phone gives.
        let has_history = !chat.is_newsletter() && !chat.is_broadcast_list();
        if info.id.len() > ID_BYTES_MAX || !has_history {
            return;
        }
        let anchor = Anchor {
            chat: info.source.chat.to_non_ad_string(),
            shown: shown.to_owned(),
            message_id: info.id.to_string(),
            is_from_me: info.source.is_from_me,
            at_ms,
        };
        let known = self.anchors.iter();
        let slot = known.clone().position(|known| known.chat == anchor.chat);
        let slot = slot.unwrap_or_else(|| {
            if self.anchors.len() < CHATS_MAX {
                return self.anchors.len();
            }
            let oldest = known.enumerate().min_by_key(|(_, known)| known.at_ms);
            oldest.map_or(0, |(slot, _)| slot)
        });
        match self.anchors.get_mut(slot) {
            Some(known) if known.chat == anchor.chat && known.at_ms > at_ms => return,
            Some(known) => *known = anchor,
            None => self.anchors.push(anchor),
        }
        self.new_anchors.insert(slot);
    }

    pub(super) fn anchors(&self) -> Vec<Anchor> {
        let mut all = self.anchors.clone();
        all.sort_by_key(|anchor| std::cmp::Reverse(anchor.at_ms));
        all
    }

    /// What is noted from now on is new.
    pub(super) fn begin_storing(&mut self) -> New {
        New {
            rows: std::mem::take(&mut self.new_rows),
            anchors: std::mem::take(&mut self.new_anchors),
        }
    }

    /// It could not be stored.
    pub(super) fn put_back(&mut self, new: New) {
        self.new_rows.extend(new.rows);
        self.new_anchors.extend(new.anchors);
    }

    /// The rows that differ from what is stored.
    pub(super) fn rows(&self) -> Vec<(String, Vec<u8>)> {
        let new = &self.new_rows;
        let mut rows = Vec::new();
        for row in new {
            let hashes = self.published.chunks(ROW_HASHES).nth(*row);
            rows.push((hash_row(*row), wire::encode_key_value(&hashes)));
        }
        for slot in &self.new_anchors {
            let anchor = wire::encode_key_value(&self.anchors[*slot]);
            rows.push((anchor_row(*slot), anchor));
        }
        if !new.is_empty() {
            rows.push((head_row(), wire::encode_key_value(&self.head)));
        }
        rows
    }
}

/// `None` when nothing is stored.
pub(super) async fn load(backend: &dyn Backend) -> anyhow::Result<Option<Memory>> {
    let Some(head) = read::<Head>(backend, &head_row()).await? else {
        return Ok(None);
    };
    let mut memory = Memory::default();
    for row in 0..HASHES_MAX / ROW_HASHES {
        let Some(some) = read::<Option<Vec<Hashed>>>(backend, &hash_row(row)).await? else {
            break;
        };
        memory.published.extend(some.unwrap_or_default());
    }
    for slot in 0..CHATS_MAX {
        let Some(anchor) = read(backend, &anchor_row(slot)).await? else {
            break;
        };
        memory.anchors.push(anchor);
    }
    memory.head = head;
    if memory.published.len() < HASHES_MAX {
        // The rows may have been stored without the head.
        memory.head.next = memory.published.len();
    }
    Ok(Some(memory))
}
