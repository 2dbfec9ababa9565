//! What is parked further ahead than the endpoint needs.
//!
//! It is remembered in memory, within bounds. What is not remembered, and what another node parked,
//! comes back in its slot, which is never further ahead than
//! [`SLOTS_AHEAD_MAX`](super::pacing::SLOTS_AHEAD_MAX).

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    EndpointLimiter, now,
    pacing::{self, FAR},
};
use crate::model::EventId;

/// Parked messages remembered for one endpoint, of some 50 bytes each.
const REMEMBERED_MAX: usize = 8 * 1024;
/// The same for all endpoints of a partition.
const REMEMBERED_MAX_IN_ALL: usize = 32 * 1024;
/// No more often is a full list searched for messages that have come back.
const SEARCH_INTERVAL: Duration = Duration::from_secs(1);
/// No more often are the messages of one endpoint brought forward.
const BRING_FORWARD_INTERVAL: Duration = Duration::from_secs(2);

/// What all endpoints of a partition may remember.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

/// One entry's part of the budget, given back when it is dropped.
#[derive(Debug)]
struct BudgetUnit(Arc<AtomicUsize>);

impl Budget {
    fn take(&self) -> Option<BudgetUnit> {
        let unit = BudgetUnit(Arc::clone(&self.0));
        let taken = self.0.fetch_add(1, Ordering::Relaxed);
        (taken < REMEMBERED_MAX_IN_ALL).then_some(unit)
    }
}

impl Drop for BudgetUnit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A message as it is parked.
#[derive(Debug)]
pub(in crate::deliver) struct ParkedMessage {
    pub(in crate::deliver) event: EventId,
    /// Of its schedule in the stream.
    pub(in crate::deliver) sequence: u64,
    at: Instant,
    _unit: BudgetUnit,
}

/// The messages of one endpoint that are parked far ahead. Most are in the order of their slots,
/// but those that came while a probe was made have later ones.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    parked: VecDeque<ParkedMessage>,
    /// How far apart the latest slots are.
    interval: Duration,
    /// Whether the endpoint may be quicker now than its slots are.
    is_due: bool,
    brought_forward_at: Option<Instant>,
    searched_at: Option<Instant>,
}

impl Backlog {
    pub(super) fn slots_given(&mut self, interval: Duration) {
        self.interval = interval;
    }

    /// The endpoint answered after it had failed, or it is another one.
    pub(super) fn is_well_again(&mut self) {
        self.is_due = true;
    }

    fn remember(&mut self, message: ParkedMessage) {
        self.forget_returned(now());
        if self.parked.len() < REMEMBERED_MAX {
            self.parked.push_back(message);
        }
    }

    /// Forgets messages at the front, and all others when there are too many.
    fn forget_returned(&mut self, now: Instant) {
        while self.parked.front().is_some_and(|first| first.at <= now) {
            self.parked.pop_front();
        }
        let searched = self.searched_at.map(|at| now.saturating_duration_since(at));
        let is_search_due = searched.is_none_or(|since| since >= SEARCH_INTERVAL);
        if self.parked.len() >= REMEMBERED_MAX && is_search_due {
            self.searched_at = Some(now);
            self.parked.retain(|message| message.at > now);
        }
    }

    /// All messages in the order of their slots, if they should come back earlier: at `interval`,
    /// which is what the endpoint allows now.
    fn take_if_late(&mut self, interval: Duration, now: Instant) -> Option<Vec<ParkedMessage>> {
        let quicker = self.is_due || interval * 2 <= self.interval;
        let too_soon = self
            .brought_forward_at
            .is_some_and(|then| now.saturating_duration_since(then) < BRING_FORWARD_INTERVAL);
        if !quicker || too_soon {
            return None;
        }
        // It is looked through once: what is parked from now on has slots at this interval.
        self.is_due = false;
        self.interval = interval;
        self.parked.retain(|message| message.at > now);
        let last = self.parked.iter().map(|message| message.at).max()?;
        let needed = interval.saturating_mul(self.parked.len() as u32);
        let ahead = last.saturating_duration_since(now);
        if ahead <= needed + needed / 2 + FAR {
            return None;
        }
        self.brought_forward_at = Some(now);
        let mut late: Vec<_> = self.parked.drain(..).collect();
        late.sort_by_key(|message| message.at);
        Some(late)
    }
}

impl EndpointLimiter {
    /// Remembers a message that is stored with this slot. Returns it if slots began again while it
    /// was on its way to the stream: it is to be moved at once.
    pub(in crate::deliver) fn remember(
        &self,
        event: EventId,
        sequence: u64,
        at: Instant,
    ) -> Option<ParkedMessage> {
        if at.saturating_duration_since(now()) <= FAR {
            return None;
        }
        let message = ParkedMessage {
            event,
            sequence,
            at,
            _unit: self.budget.take()?,
        };
        let mut state = self.state();
        if at > state.slot_clock + FAR && state.breaker.is_well() {
            return Some(message);
        }
        state.backlog.remember(message);
        None
    }

    /// What should come back earlier than it is parked for: after a time in which the endpoint
    /// failed, asked for a pause, or was slow. Slots begin again at once; the caller asks for one
    /// for each message.
    pub(in crate::deliver) fn take_backlog(&self) -> Option<Vec<ParkedMessage>> {
        let mut state = self.state();
        if !state.breaker.is_well() {
            return None;
        }
        let now = now();
        let interval = self.slot_interval(&state);
        let late = state.backlog.take_if_late(interval, now)?;
        state.slot_clock = now;
        Some(late)
    }

    /// An earlier slot for a message of the backlog. `None`: it is to stay where it is, since that
    /// is early enough, or the endpoint fails again.
    pub(in crate::deliver) fn earlier_slot(&self, message: ParkedMessage) -> Option<Instant> {
        let now = now();
        let mut state = self.state();
        let interval = self.slot_interval(&state);
        let next = state.slot_clock.max(now);
        if next + FAR >= message.at || state.breaker.open_cause().is_some() {
            state.backlog.remember(message);
            return None;
        }
        Some(pacing::reserve(&mut state.slot_clock, now, interval))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parked(budget: &Budget, at: Instant) -> ParkedMessage {
        ParkedMessage {
            event: EventId(uuid::Uuid::nil()),
            sequence: 1,
            at,
            _unit: budget.take().expect("within the budget"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn messages_that_came_back_do_not_hide_late_ones() {
        let budget = Budget::default();
        let mut backlog = Backlog::default();
        let begun = now();
        let second = Duration::from_secs(1);
        // The first stays longest, so none behind it is forgotten on the way.
        backlog.remember(parked(&budget, begun + second * 60));
        for _ in 0..2_000 {
            backlog.remember(parked(&budget, begun + second));
        }
        tokio::time::advance(second * 5).await;
        backlog.is_well_again();
        let late = backlog.take_if_late(second / 50, now());
        assert_eq!(late.map(|late| late.len()), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_list_makes_room_for_new_messages() {
        let budget = Budget::default();
        let mut backlog = Backlog::default();
        let begun = now();
        let second = Duration::from_secs(1);
        backlog.remember(parked(&budget, begun + second * 60));
        for _ in 0..REMEMBERED_MAX {
            backlog.remember(parked(&budget, begun + second));
        }
        assert_eq!(backlog.parked.len(), REMEMBERED_MAX);
        tokio::time::advance(second * 5).await;
        backlog.remember(parked(&budget, begun + second * 70));
        assert_eq!(backlog.parked.len(), 2);
    }

    #[test]
    fn the_budget_ends_and_comes_back() {
        let budget = Budget::default();
        let taken: Vec<_> = (0..REMEMBERED_MAX_IN_ALL)
            .map(|_| budget.take().expect("within the budget"))
            .collect();
        assert!(budget.take().is_none());
        assert!(budget.take().is_none(), "a refusal takes nothing");
        drop(taken);
        assert!(budget.take().is_some());
    }
}
