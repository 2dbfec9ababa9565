//! How much one page of a listing may hold.

use crate::model::Event;

/// A listing ends early once the bodies of its events have as many bytes as this. One more body
/// than that fits in at most. Bodies of 500 KB would otherwise make a page of 250 events 125 MB.
pub const PAGE_BODY_BYTES_MAX: usize = 4 << 20;

/// Whether a listing of up to `limit` events ended because there are no more.
pub fn is_last_page(events: &[Event], limit: usize) -> bool {
    events.len() < limit && body_bytes(events) < PAGE_BODY_BYTES_MAX
}

fn body_bytes(events: &[Event]) -> usize {
    events
        .iter()
        .flat_map(|event| &event.attempts)
        .map(|attempt| attempt.delivery.body.len())
        .sum()
}

/// The events of a page, while they are gathered.
pub(super) struct PageEvents {
    limit: usize,
    body_bytes: usize,
    events: Vec<Event>,
}

impl PageEvents {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            body_bytes: 0,
            events: Vec::new(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= self.limit || self.body_bytes >= PAGE_BODY_BYTES_MAX
    }

    /// How many more events there may be.
    pub(super) fn missing(&self) -> usize {
        self.limit.saturating_sub(self.events.len())
    }

    pub(super) fn push(&mut self, event: Event) {
        self.body_bytes += body_bytes(std::slice::from_ref(&event));
        self.events.push(event);
    }

    pub(super) fn into_events(self) -> Vec<Event> {
        self.events
    }
}
