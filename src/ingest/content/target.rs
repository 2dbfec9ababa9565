//! The message that another one is about.

use whatsapp_rust::prelude::wa;

/// A message named by another one: reacted to, edited, revoked, pinned, voted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::ingest) struct Target {
    pub(in crate::ingest) message_id: String,
    /// Who wrote it, where a group's message says so: an id with its domain.
    pub(in crate::ingest) participant: Option<String>,
    /// Whether the sender of *this* message wrote it.
    pub(in crate::ingest) is_senders_own: bool,
}

impl Target {
    pub(super) fn of(key: Option<&wa::MessageKey>) -> Option<Self> {
        let key = key?;
        Some(Self {
            message_id: key.id.clone().filter(|id| !id.is_empty())?,
            participant: key.participant.clone().filter(|name| !name.is_empty()),
            is_senders_own: key.from_me.unwrap_or_default(),
        })
    }
}
