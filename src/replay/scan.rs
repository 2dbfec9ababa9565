//! The events of a filter, page by page.

use std::{collections::HashSet, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{Error, error::in_time, lost::lost_among};
use crate::{
    bus::Bus,
    model::{ClientId, Event, EventFilter, EventStatus, JobCursor, JobFilter, WebhookId},
    store::{Store, is_last_page},
};

/// How long a next try must be overdue before a replay may take the event.
const LOST_AFTER: Duration = Duration::from_secs(10);
/// Events per page while counting.
const COUNT_PAGE_EVENTS: usize = 500;

/// Some events of one webhook.
pub struct Page {
    /// The webhook of all of them.
    pub webhook: WebhookId,
    /// Those that match, newest first; may be none.
    pub events: Vec<Event>,
    /// The place after them.
    pub place: JobCursor,
}

/// Goes through a client's webhooks in the order of their ids, and through the events of each from
/// the newest to the oldest. Webhooks that were deleted have no deliveries any more, so they are
/// left out.
pub struct Scan {
    bus: Bus,
    store: Arc<dyn Store>,
    client: ClientId,
    filter: JobFilter,
    webhooks: Vec<WebhookId>,
    place: Option<JobCursor>,
}

impl Scan {
    /// Begins after `place`, or at the beginning.
    ///
    /// # Errors
    /// When the bus does not answer.
    pub async fn new(
        bus: &Bus,
        store: Arc<dyn Store>,
        client: ClientId,
        filter: JobFilter,
        place: Option<JobCursor>,
    ) -> Result<Self, Error> {
        let all = bus.webhooks().list(client).await?;
        let wanted = |id: &WebhookId| filter.webhook.is_none_or(|only| only == *id);
        let mut webhooks: Vec<_> = all
            .iter()
            .map(|webhook| webhook.id)
            .filter(wanted)
            .collect();
        webhooks.sort_unstable();
        Ok(Self {
            bus: bus.clone(),
            store,
            client,
            filter,
            webhooks,
            place,
        })
    }

    /// The next page, after looking at up to `limit` events of one webhook; `None` at the end.
    ///
    /// # Errors
    /// When the store does not answer in time; asking again goes on at the same place.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Page>, Error> {
        let Some((webhook, after)) = next_of(&self.webhooks, self.place) else {
            return Ok(None);
        };
        let filter = EventFilter {
            status: Some(self.filter.status),
            since: self.filter.since,
            until: Some(self.filter.until),
        };
        let asked = self
            .store
            .events(self.client, webhook, filter, after, limit);
        let mut events = in_time(asked).await?;
        let last = events.last().map(|event| event.last().delivery.event_id);
        let place = JobCursor {
            webhook,
            after: last.or(after),
            is_done: is_last_page(&events, limit),
        };
        self.place = Some(place);
        if let Some(kind) = &self.filter.kind {
            events.retain(|event| event.last().delivery.kind == *kind);
        }
        if matches!(self.filter.status, EventStatus::Pending | EventStatus::Sent) {
            self.retain_lost(&mut events).await?;
        }
        Ok(Some(Page {
            webhook,
            events,
            place,
        }))
    }
}

impl Scan {
    /// What still waits goes out by itself: of those, only the lost ones match.
    async fn retain_lost(&self, events: &mut Vec<Event>) -> Result<(), Error> {
        let lost = lost_among(&self.bus, &*self.store, events, LOST_AFTER).await?;
        let ids: HashSet<_> = lost.iter().map(|lost| lost.delivery.event_id).collect();
        events.retain(|event| ids.contains(&event.last().delivery.event_id));
        Ok(())
    }
}

/// The webhook that comes at or after a place, and the event to go on after. `webhooks` are sorted.
fn next_of(
    webhooks: &[WebhookId],
    place: Option<JobCursor>,
) -> Option<(WebhookId, Option<crate::model::EventId>)> {
    let Some(place) = place else {
        return webhooks.first().map(|first| (*first, None));
    };
    let comes = |id: &&WebhookId| **id > place.webhook || **id == place.webhook && !place.is_done;
    let webhook = *webhooks.iter().find(comes)?;
    Some((webhook, place.after.filter(|_| webhook == place.webhook)))
}

/// What a count came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Events that match, as far as was counted.
    pub matched: u64,
    /// Whether all were counted.
    pub is_complete: bool,
}

/// Counts what is left of a scan: at most a little over `max`, and no new page after `deadline`.
///
/// # Errors
/// When the store does not answer in time.
pub async fn count(mut scan: Scan, max: u64, deadline: Option<Instant>) -> Result<Count, Error> {
    let mut matched = 0;
    while let Some(page) = scan.next(COUNT_PAGE_EVENTS).await? {
        matched += page.events.len() as u64;
        if matched > max || deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            return Ok(Count {
                matched,
                is_complete: false,
            });
        }
    }
    Ok(Count {
        matched,
        is_complete: true,
    })
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::model::EventId;

    #[test]
    fn a_scan_goes_on_where_it_stopped_whatever_was_deleted_or_came() {
        let id = |number| WebhookId(Uuid::from_u128(number));
        let event = Some(EventId(Uuid::from_u128(77)));
        let webhooks = [id(2), id(4), id(6)];
        let at = |webhook, is_done| {
            Some(JobCursor {
                webhook: id(webhook),
                after: event,
                is_done,
            })
        };
        let table = [
            (None, Some((id(2), None))),
            (at(2, false), Some((id(2), event))),
            (at(2, true), Some((id(4), None))),
            (at(3, false), Some((id(4), None))),
            (at(6, false), Some((id(6), event))),
            (at(6, true), None),
            (at(7, false), None),
        ];
        for (place, expected) in table {
            assert_eq!(next_of(&webhooks, place), expected, "{place:?}");
        }
        assert_eq!(next_of(&[], None), None);
    }
}
