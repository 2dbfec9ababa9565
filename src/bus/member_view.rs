//! How one node sees the nodes that deliver. It reads no clock: each call takes the time.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use time::OffsetDateTime;

/// Silence after which others consider a node down.
pub(super) const DEAD_AFTER: Duration = Duration::from_secs(5);
/// Silence after which a node considers itself down: before any other does.
pub(super) const SELF_EXPIRY: Duration = Duration::from_secs(4);
/// Heartbeats come every second: a watch that brings none for this long is broken.
pub(super) const WATCH_STALE_AFTER: Duration = Duration::from_secs(3);

pub(super) struct MemberView {
    /// The last heartbeat of each node that is up.
    alive: BTreeMap<String, Instant>,
    /// The newest time of the server's clock that an entry showed.
    server_time: OffsetDateTime,
    /// When this node's last heartbeat was sent that got through.
    last_beat: Option<Instant>,
    /// When the watch last brought one of this node's own heartbeats.
    last_own_seen: Option<Instant>,
    /// How often this node has come back from silence.
    term: u64,
    /// When the last silence began.
    silent_since: Option<Instant>,
}

impl MemberView {
    pub(super) fn new() -> Self {
        Self {
            alive: BTreeMap::new(),
            server_time: OffsetDateTime::UNIX_EPOCH,
            last_beat: None,
            last_own_seen: None,
            term: 0,
            silent_since: None,
        }
    }

    /// Whether no other can consider this node down yet.
    pub(super) fn is_current(&self, now: Instant) -> bool {
        is_within(self.last_beat, SELF_EXPIRY, now)
    }

    /// Whether the watch brings heartbeats. While it does not, the others' silence says nothing.
    pub(super) fn watch_is_live(&self, now: Instant) -> bool {
        is_within(self.last_own_seen, WATCH_STALE_AFTER, now)
    }

    pub(super) fn term(&self) -> u64 {
        self.term
    }

    pub(super) fn silent_since(&self) -> Option<Instant> {
        self.silent_since
    }

    /// This node's heartbeat of `sent_at` got through.
    pub(super) fn beat_got_through(&mut self, sent_at: Instant, now: Instant) {
        if !self.is_current(now) {
            self.term += 1;
            self.silent_since = self.last_beat;
            // As far as this node can tell, the bus was silent: the others get their full time.
            self.alive.values_mut().for_each(|at| *at = sent_at);
        }
        self.last_beat = Some(sent_at);
    }

    /// The watch brought one of this node's own heartbeats.
    pub(super) fn own_beat_seen(&mut self, now: Instant) {
        self.last_own_seen = Some(now);
    }

    /// Notes a heartbeat; whether the node was down before. An old entry is none: its age is what
    /// the server's clock says, since clocks of nodes differ.
    pub(super) fn note(&mut self, name: &str, created: OffsetDateTime, now: Instant) -> bool {
        self.server_time = self.server_time.max(created);
        let age = (self.server_time - created).unsigned_abs();
        if age >= DEAD_AFTER {
            return false;
        }
        let Some(at) = now.checked_sub(age) else {
            return false;
        };
        self.alive.insert(name.to_owned(), at).is_none()
    }

    /// Notes that a node left; whether it was up before.
    pub(super) fn left(&mut self, name: &str) -> bool {
        self.alive.remove(name).is_some()
    }

    /// The nodes that are up. While this node does not get through itself, or its watch is stale,
    /// it knows nothing of the others.
    pub(super) fn judge(&mut self, own_name: &str, now: Instant) -> Vec<String> {
        if self.is_current(now) && self.watch_is_live(now) {
            self.alive
                .retain(|_, at| now.saturating_duration_since(*at) < DEAD_AFTER);
        }
        // A node always counts itself in: only its own leaving ends that.
        self.alive.insert(own_name.to_owned(), now);
        self.alive.keys().cloned().collect()
    }
}

fn is_within(at: Option<Instant>, limit: Duration, now: Instant) -> bool {
    at.is_some_and(|at| now.saturating_duration_since(at) < limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn start() -> Instant {
        // Later than the clock's zero, so that ages can be subtracted.
        Instant::now() + Duration::from_secs(60)
    }

    fn server(millis: i64) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + time::Duration::days(1) + time::Duration::milliseconds(millis)
    }

    #[test]
    fn a_node_is_current_and_its_watch_live_until_their_limits() {
        let start = start();
        let mut view = MemberView::new();
        assert!(!view.is_current(start) && !view.watch_is_live(start));
        view.beat_got_through(start, start);
        view.own_beat_seen(start);
        for (after, is_current, is_live) in [
            (0, true, true),
            (2_999, true, true),
            (3_000, true, false),
            (3_999, true, false),
            (4_000, false, false),
        ] {
            let now = start + ms(after);
            assert_eq!(view.is_current(now), is_current, "after {after} ms");
            assert_eq!(view.watch_is_live(now), is_live, "after {after} ms");
        }
    }

    #[test]
    fn an_entry_is_a_heartbeat_when_the_servers_clock_says_that_it_is_fresh() {
        for (age_ms, is_news) in [(0, true), (4_999, true), (5_000, false), (60_000, false)] {
            let mut view = MemberView::new();
            view.note("newest", server(0), start());
            let news = view.note("other", server(-age_ms), start());
            assert_eq!(news, is_news, "{age_ms} ms old");
            assert!(!view.note("other", server(-age_ms), start()), "again");
        }
    }

    #[test]
    fn a_silent_node_is_considered_down_only_while_this_one_hears() {
        // How long ago the last own heartbeat got through and was seen, and whether a node that was
        // silent for the given time is still counted.
        for (beat_ago, seen_ago, silence, is_counted) in [
            (0, 0, 4_999, true),
            (0, 0, 5_000, false),
            (3_999, 0, 5_000, false),
            (4_000, 0, 5_000, true),
            (0, 2_999, 5_000, false),
            (0, 3_000, 5_000, true),
        ] {
            let start = start();
            let now = start + ms(10_000);
            let mut view = MemberView::new();
            view.beat_got_through(start, start);
            view.note("other", server(0), now - ms(silence));
            view.last_beat = Some(now - ms(beat_ago));
            view.own_beat_seen(now - ms(seen_ago));
            let expected: &[&str] = if is_counted {
                &["other", "own"]
            } else {
                &["own"]
            };
            assert_eq!(
                view.judge("own", now),
                expected,
                "own heartbeat {beat_ago} ms ago, seen {seen_ago} ms ago, silence {silence} ms"
            );
        }
    }

    #[test]
    fn a_node_that_comes_back_from_silence_begins_a_term_and_gives_others_their_time() {
        let start = start();
        let mut view = MemberView::new();
        view.beat_got_through(start, start);
        assert_eq!((view.term(), view.silent_since()), (1, None));
        view.note("other", server(0), start);
        // Within the limit: the same term.
        let second = start + ms(3_900);
        view.beat_got_through(second, second);
        assert_eq!(view.term(), 1);
        let third = second + ms(20_000);
        view.beat_got_through(third, third);
        view.own_beat_seen(third);
        assert_eq!((view.term(), view.silent_since()), (2, Some(second)));
        assert_eq!(view.judge("own", third), ["other", "own"]);
        for after in [2_500, 5_000] {
            let now = third + ms(after);
            view.beat_got_through(now, now);
            view.own_beat_seen(now);
        }
        assert_eq!(view.term(), 2);
        assert_eq!(
            view.judge("own", third + ms(5_000)),
            ["own"],
            "silent since"
        );
    }

    #[test]
    fn a_node_that_left_is_down_at_once() {
        let start = start();
        let mut view = MemberView::new();
        view.note("other", server(0), start);
        assert!(view.left("other"));
        assert!(!view.left("other"));
        assert_eq!(view.judge("own", start), ["own"]);
    }
}
