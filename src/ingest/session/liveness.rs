//! Notices a session that is connected and mute.
//!
//! A connection may stand while nothing comes through it: the other end hangs, takes messages and
//! never answers, or has a queue and does not hand it out. The client pings WhatsApp every 15 to
//! 30 s and takes a connection for dead that brings nothing for 20 s after that, but it looks at
//! nothing else. Pure: the time comes in as an argument.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::model::SessionState;

/// Nothing at all was received for so long. Longer than the client's pings are apart, with an
/// answer.
const NOTHING_HEARD_MAX: Duration = Duration::from_secs(45);
/// How long WhatsApp may take to acknowledge a message. Usually it takes a tenth of a second.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long nothing may come of a queue that WhatsApp has announced.
const QUEUE_WAIT_MAX: Duration = Duration::from_secs(30);
/// How long a new connection may take, until the client is started again.
const RECONNECT_MAX: Duration = Duration::from_secs(30);
/// Messages without an acknowledgement that are remembered.
const UNANSWERED_MAX: usize = 256;

/// How a connected session is mute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// Nothing comes in at all.
    Connection,
    /// Messages that were sent are not acknowledged.
    Sends,
    /// Messages that WhatsApp has announced do not come.
    Queue,
}

impl Silence {
    /// As the metric names it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Sends => "sends",
            Self::Queue => "queue",
        }
    }

    /// For the session's owner.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Connection => "nothing came from WhatsApp for 45 s",
            Self::Sends => "WhatsApp did not acknowledge a message for 30 s",
            Self::Queue => "WhatsApp announced messages and sent none for 30 s",
        }
    }
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remedy {
    /// A new connection.
    Reconnect(Silence),
    /// A new client: the new connection did not come, or is mute in the same way.
    Restart(Silence),
}

/// Messages that were sent and are not acknowledged, and since when.
#[derive(Clone, Default)]
pub(super) struct Unanswered(Arc<Mutex<HashMap<String, Instant>>>);

impl Unanswered {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Instant>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn sent(&self, message_id: &str, now: Instant) {
        let mut waiting = self.lock();
        if waiting.len() < UNANSWERED_MAX {
            waiting.insert(message_id.to_owned(), now);
        }
    }

    pub(super) fn answered(&self, message_id: &str) {
        self.lock().remove(message_id);
    }

    fn oldest(&self) -> Option<Instant> {
        self.lock().values().min().copied()
    }
}

/// What is known of one connection, and of the one before.
pub(super) struct Liveness {
    pub(super) unanswered: Unanswered,
    frames: u64,
    heard_at: Instant,
    /// Since when a queue is announced of which nothing came.
    queue_since: Option<Instant>,
    /// What the connection before was left for, and when.
    left: Option<(Silence, Instant)>,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            unanswered: Unanswered::default(),
            frames: 0,
            heard_at: now,
            queue_since: None,
            left: None,
        }
    }

    /// A new connection stands.
    pub(super) fn connected(&mut self, now: Instant) {
        self.heard_at = now;
        self.unanswered.lock().clear();
    }

    /// WhatsApp has announced so many messages.
    pub(super) fn announced(&mut self, messages: i32, now: Instant) {
        self.queue_since = (messages > 0).then_some(now);
    }

    /// Some of them came.
    pub(super) fn received(&mut self, now: Instant) {
        self.queue_since = self.queue_since.map(|_| now);
        self.left = None;
    }

    /// All of them came.
    pub(super) fn emptied(&mut self) {
        self.queue_since = None;
        if matches!(self.left, Some((Silence::Queue | Silence::Connection, _))) {
            self.left = None;
        }
    }

    /// Looks at a session. `frames`: how many its client has received so far.
    pub(super) fn look(
        &mut self,
        frames: u64,
        state: SessionState,
        now: Instant,
    ) -> Option<Remedy> {
        if frames != self.frames {
            self.frames = frames;
            self.heard_at = now;
        }
        let Some(silence) = self.silence(state, now) else {
            let (silence, at) = self.left.filter(|_| state != SessionState::Connected)?;
            return (now - at >= RECONNECT_MAX).then_some(Remedy::Restart(silence));
        };
        let remedy = match self.left {
            Some((before, _)) if before == silence => Remedy::Restart(silence),
            _ => Remedy::Reconnect(silence),
        };
        self.left = Some((silence, now));
        self.queue_since = None;
        self.connected(now);
        Some(remedy)
    }

    /// Before the queue has come, a session does not count as connected.
    fn silence(&self, state: SessionState, now: Instant) -> Option<Silence> {
        let is_connected = state == SessionState::Connected;
        let is_over = |since: Option<Instant>, max| since.is_some_and(|since| now - since >= max);
        if is_over(self.queue_since, QUEUE_WAIT_MAX) {
            Some(Silence::Queue)
        } else if is_connected && now - self.heard_at >= NOTHING_HEARD_MAX {
            Some(Silence::Connection)
        } else if is_connected && is_over(self.unanswered.oldest(), ANSWER_WAIT_MAX) {
            Some(Silence::Sends)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use SessionState::{Connected, Silent};

    use super::*;

    fn after(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_connection_that_brings_something_now_and_then_lives() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        for round in 1..100 {
            let now = after(start, round * 44);
            assert_eq!(liveness.look(round, Connected, now), None);
        }
    }

    #[test]
    fn a_mute_connection_is_left_and_a_second_one_ends_the_client() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        assert_eq!(liveness.look(0, Connected, after(start, 44)), None);
        let silence = Silence::Connection;
        let remedy = liveness.look(0, Connected, after(start, 45));
        assert_eq!(remedy, Some(Remedy::Reconnect(silence)));
        assert_eq!(liveness.look(0, Silent, after(start, 74)), None);
        let remedy = liveness.look(0, Silent, after(start, 75));
        assert_eq!(remedy, Some(Remedy::Restart(silence)), "no connection came");
        liveness.connected(after(start, 76));
        let remedy = liveness.look(0, Connected, after(start, 121));
        assert_eq!(remedy, Some(Remedy::Restart(silence)), "it is mute as well");
    }

    #[test]
    fn messages_that_nobody_acknowledges_are_noticed() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        liveness.unanswered.sent("A", start);
        liveness.unanswered.sent("B", after(start, 1));
        liveness.unanswered.answered("A");
        assert_eq!(liveness.look(1, Connected, after(start, 30)), None);
        let remedy = liveness.look(2, Connected, after(start, 31));
        assert_eq!(remedy, Some(Remedy::Reconnect(Silence::Sends)));
        liveness.connected(after(start, 32));
        assert_eq!(
            liveness.look(3, Connected, after(start, 62)),
            None,
            "told once"
        );
    }

    #[test]
    fn a_queue_that_does_not_come_is_noticed_and_a_slow_one_is_not() {
        let start = Instant::now();
        let mut liveness = Liveness::new(start);
        liveness.announced(0, start);
        assert_eq!(liveness.look(1, Connected, after(start, 40)), None);
        liveness.announced(9, after(start, 40));
        liveness.received(after(start, 69));
        assert_eq!(
            liveness.look(2, Connected, after(start, 98)),
            None,
            "some came"
        );
        let remedy = liveness.look(3, Silent, after(start, 99));
        assert_eq!(
            remedy,
            Some(Remedy::Reconnect(Silence::Queue)),
            "not connected before it"
        );
        liveness.announced(9, after(start, 100));
        liveness.emptied();
        assert_eq!(liveness.look(4, Connected, after(start, 140)), None);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let now = Instant::now();
        let unanswered = Unanswered::default();
        for number in 0..2 * UNANSWERED_MAX {
            unanswered.sent(&number.to_string(), now);
        }
        assert_eq!(unanswered.lock().len(), UNANSWERED_MAX);
    }
}
