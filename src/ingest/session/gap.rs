//! Looking for messages that were missed while a session was away.
//!
//! WhatsApp keeps messages for a session that is away, and hands them out at its next login. What
//! it has lost meanwhile lies, in each chat, before a message that comes later. So for some time
//! after a login the first new message of a chat has the phone asked for those before it, back to
//! when the session was last there.

use std::{collections::HashSet, time::Duration};

use tokio::time::Instant;

use crate::{
    ingest::seen::Anchor,
    model::{Backfill, Timestamp},
};

/// After a login, until what WhatsApp kept has come.
const SETTLING: Duration = Duration::from_secs(5);
/// How long after a login chats are looked at.
const OPEN: Duration = Duration::from_secs(15 * 60);
/// Before a session is found to be away it has been so for some time.
const MARGIN_MS: i64 = 2 * 60 * 1000;

/// What is looked at after one login.
pub(super) struct Gap {
    /// Chats that are looked at after each login; 0 for none.
    chats_max: usize,
    /// Since when the session was away.
    since: Option<Timestamp>,
    settled_at: Option<Instant>,
    looked_at: HashSet<String>,
}

impl Gap {
    pub(super) fn new(chats_max: usize) -> Self {
        Self {
            chats_max,
            since: None,
            settled_at: None,
            looked_at: HashSet::new(),
        }
    }

    /// The session is away since then, unless it was before.
    pub(super) fn away(&mut self, since: Timestamp) {
        if self.since.is_none() || self.settled_at.is_some() {
            self.since = Some(Timestamp::from_millis(since.millis() - MARGIN_MS));
        }
        self.settled_at = None;
        self.looked_at.clear();
    }

    /// What WhatsApp kept has come.
    pub(super) fn caught_up(&mut self, now: Instant) {
        if self.since.is_some() {
            self.settled_at = Some(now + SETTLING);
        }
    }

    /// What is to be asked for now: the next chat with a message that is new since.
    pub(super) fn due(
        &mut self,
        anchors: impl FnOnce() -> Vec<Anchor>,
        now: Instant,
        until: Timestamp,
    ) -> Option<Backfill> {
        let since = self.since?;
        let settled_at = self.settled_at?;
        if now < settled_at || self.looked_at.len() >= self.chats_max {
            return None;
        }
        if now > settled_at + OPEN {
            self.since = None;
            return None;
        }
        let is_due = |anchor: &&Anchor| {
            anchor.at_ms >= since.millis() && !self.looked_at.contains(&anchor.shown)
        };
        let chat = anchors().iter().find(is_due)?.shown.clone();
        Some(Backfill {
            since,
            until,
            chats: vec![chat],
        })
    }

    /// It is being asked for.
    pub(super) fn looked_at(&mut self, chat: String) {
        self.looked_at.insert(chat);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn anchor(chat: &str, at_ms: i64) -> Anchor {
        Anchor {
            chat: format!("{chat}@s.whatsapp.net"),
            shown: chat.to_owned(),
            message_id: "M".to_owned(),
            is_from_me: false,
            at_ms,
        }
    }

    #[test]
    fn chats_with_new_messages_are_looked_at_once_after_each_login() {
        let hour = |hours: i64| Timestamp::from_millis(hours * 3_600_000);
        let anchors = [
            anchor("1", 9 * 3_600_000),
            anchor("2", 8 * 3_600_000),
            anchor("3", 0),
        ];
        let now = Instant::now();
        let later = now + SETTLING;
        let mut gap = Gap::new(5);
        assert_eq!(
            gap.due(|| anchors.to_vec(), later, hour(10)).map(|_| ()),
            None,
            "never away"
        );
        gap.away(hour(7));
        gap.away(hour(8));
        assert_eq!(
            gap.due(|| anchors.to_vec(), later, hour(10)).map(|_| ()),
            None,
            "not back"
        );
        gap.caught_up(now);
        assert_eq!(
            gap.due(|| anchors.to_vec(), now, hour(10)).map(|_| ()),
            None,
            "not settled"
        );
        for chat in ["1", "2"] {
            let due = gap.due(|| anchors.to_vec(), later, hour(10)).expect("due");
            assert_eq!(due.chats, [chat]);
            assert_eq!(due.since.millis(), hour(7).millis() - MARGIN_MS);
            gap.looked_at(chat.to_owned());
        }
        assert_eq!(
            gap.due(|| anchors.to_vec(), later, hour(10)).map(|_| ()),
            None,
            "the third is old"
        );
        gap.away(hour(9));
        gap.caught_up(now);
        assert!(
            gap.due(|| anchors.to_vec(), later, hour(10)).is_some(),
            "the next login"
        );
        let long_after = later + OPEN + OPEN;
        assert_eq!(
            gap.due(|| anchors.to_vec(), long_after, hour(10))
                .map(|_| ()),
            None
        );
        let mut none = Gap::new(0);
        none.away(hour(7));
        none.caught_up(now);
        assert_eq!(
            none.due(|| anchors.to_vec(), later, hour(10)).map(|_| ()),
            None
        );
    }
}
