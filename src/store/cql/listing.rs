//! Listings of events, newest first.
//!
//! A listing goes day by day. It either scans the day's rows in `events`, or reads the day's rows
//! in a secondary index and resolves them: such a row may be stale, so the event's newest row in
//! `events` decides.

use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::{serialize::row::SerializeRow, statement::prepared::PreparedStatement};
use uuid::Uuid;

use super::{
    Connected,
    recent::Key,
    rows::{Row, damaged, id},
};
use crate::{
    model::{
        Attempt, ClientId, Event, EventFilter, EventId, EventStatus, Position, Timestamp, WebhookId,
    },
    store::{Error, PageEvents},
};

/// Index rows that are gathered before they are resolved.
const CANDIDATES_MAX: usize = 50;
/// Index rows that are resolved at the same time. Each answer has a body.
const READS_MAX: usize = 8;
/// Rows per answer while a day is scanned. The server counts rows, not the bytes of their bodies.
const SCAN_ROWS_MAX: usize = 32;

/// The lowest and highest id with the version and variant of an event id: servers compare the
/// version first.
const LOWEST: Uuid = Uuid::from_u128(0x0000_0000_0000_8000_8000_0000_0000_0000);
const HIGHEST: Uuid = Uuid::from_u128(0xffff_ffff_ffff_8fff_bfff_ffff_ffff_ffff);

/// The lowest id of this millisecond: event ids sort by time.
fn first_id_at(at: Timestamp) -> Uuid {
    let millis = u128::from(u64::try_from(at.millis()).unwrap_or_default());
    Uuid::from_u128(millis << 80 | LOWEST.as_u128())
}

/// Ids from `from` up to below `below`.
#[derive(Clone, Copy)]
struct IdRange {
    from: Uuid,
    below: Uuid,
}

impl IdRange {
    fn new(filter: EventFilter, after: Option<Position>) -> Self {
        let until = filter.until.map_or(HIGHEST, first_id_at);
        Self {
            from: filter.since.map_or(LOWEST, first_id_at),
            below: after.map_or(until, |after| until.min(after.0)),
        }
    }

    /// The last and the first day of these ids.
    fn days(self) -> (i32, i32) {
        (day_of(self.below), day_of(self.from))
    }
}

fn day_of(event: Uuid) -> i32 {
    // The highest id is beyond any calendar; its time is clamped.
    EventId(event).timestamp().day()
}

/// A row of a secondary index: event, attempt, status after that attempt, webhook.
type IndexRow = (Uuid, i32, String, Uuid);

/// The answer to a request for a listing, while it is gathered.
struct Listing {
    status: Option<EventStatus>,
    page: PageEvents,
}

impl Listing {
    fn new(status: Option<EventStatus>, limit: usize) -> Self {
        Self {
            status,
            page: PageEvents::new(limit),
        }
    }

    fn is_full(&self) -> bool {
        self.page.is_full()
    }

    /// Takes an event's newest attempt if it has the status asked for and there is room.
    fn offer(&mut self, newest: Attempt) {
        let matches = self.status.is_none_or(|status| status == newest.status);
        if matches && !self.is_full() {
            self.page.push(Event {
                attempts: vec![newest],
            });
        }
    }
}

/// Picks from index rows, which come sorted by event and attempt, the events to resolve.
struct Candidates {
    status: Option<EventStatus>,
    /// The event of the last row, and its newest attempt.
    last: Option<(Uuid, i32)>,
    picked: Vec<(Uuid, Uuid)>,
}

impl Candidates {
    fn new(status: Option<EventStatus>) -> Self {
        Self {
            status,
            last: None,
            picked: Vec::new(),
        }
    }

    fn add(&mut self, (event, attempt, status, webhook): IndexRow) {
        let newest = match self.last {
            Some((last, newest)) if last == event => newest,
            _ => attempt,
        };
        self.last = Some((event, newest));
        // Rows about older attempts of an event say nothing about it.
        let matches = self.status.is_none_or(|wanted| wanted.as_str() == status);
        let counts = attempt == newest && matches;
        if counts && self.picked.last() != Some(&(event, webhook)) {
            self.picked.push((event, webhook));
        }
    }
}

impl Connected {
    pub(super) async fn events(
        &self,
        key: Key,
        filter: EventFilter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        let range = IdRange::new(filter, after);
        let (last, first) = range.days();
        let place = (id(key.0), key.1.0, last, first);
        let days: Vec<(i32,)> = self.read_all(&self.statements.select_days, place).await?;
        let mut listing = Listing::new(filter.status, limit);
        for (day,) in days {
            match filter.status {
                None | Some(EventStatus::Delivered) => {
                    self.scan_day(key, day, range, &mut listing).await?;
                }
                Some(_) => {
                    let index = &self.statements.select_attention;
                    let place = (id(key.0), key.1.0, day, range.below, range.from);
                    self.resolve_index_rows(index, place, key.0, &mut listing)
                        .await?;
                }
            }
            if listing.is_full() {
                break;
            }
        }
        Ok(listing.page.into_events())
    }

    pub(super) async fn dead_letters(
        &self,
        client: ClientId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<Event>, Error> {
        let range = IdRange::new(EventFilter::default(), after);
        let (last, first) = range.days();
        let place = (id(client), last, first);
        let days: Vec<(i32,)> = self
            .read_all(&self.statements.select_letter_days, place)
            .await?;
        let mut listing = Listing::new(Some(EventStatus::Failed), limit);
        for (day,) in days {
            let index = &self.statements.select_letters;
            let place = (id(client), day, range.below);
            self.resolve_index_rows(index, place, client, &mut listing)
                .await?;
            if listing.is_full() {
                break;
            }
        }
        Ok(listing.page.into_events())
    }

    /// Takes the newest attempt of each of one day's events.
    async fn scan_day(
        &self,
        key: Key,
        day: i32,
        range: IdRange,
        listing: &mut Listing,
    ) -> Result<(), Error> {
        let place = (id(key.0), key.1.0, day, range.below, range.from);
        let mut statement = self.statements.select_attempts.clone();
        let rows_max = (listing.page.missing() + 1).min(SCAN_ROWS_MAX);
        let rows_max = i32::try_from(rows_max).expect("a small number");
        statement.set_page_size(rows_max.min(statement.get_page_size()));
        let _permit = self.reads.acquire().await.map_err(|_| Error::closed())?;
        let rows = self.session.execute_iter(statement, place).await;
        let rows = rows.map_err(Error::failed)?;
        let mut rows = rows.rows_stream::<Row>().map_err(damaged)?;
        // An event's attempts come newest first, so its first row is the newest attempt. Of one
        // that was made twice, the next row may count.
        let mut newest: Option<Row> = None;
        while !listing.is_full() {
            let row = rows.try_next().await.map_err(Error::failed)?;
            match (row, &mut newest) {
                (Some(row), Some(newest)) if row.counts_before(newest) => *newest = row,
                (Some(row), Some(newest)) if row.event_id == newest.event_id => {}
                (row, newest) => {
                    let is_end = row.is_none();
                    if let Some(ended) = std::mem::replace(newest, row) {
                        listing.offer(Attempt::try_from(ended)?);
                    }
                    if is_end {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes the client's events to which one day's index rows lead.
    async fn resolve_index_rows(
        &self,
        index: &PreparedStatement,
        place: impl SerializeRow,
        client: ClientId,
        listing: &mut Listing,
    ) -> Result<(), Error> {
        let permit = self.reads.acquire().await.map_err(|_| Error::closed())?;
        let rows = self.session.execute_iter(index.clone(), place).await;
        let rows = rows.map_err(Error::failed)?;
        let mut rows = rows.rows_stream::<IndexRow>().map_err(damaged)?;
        // Resolving takes permits of its own.
        drop(permit);
        let mut candidates = Candidates::new(listing.status);
        while !listing.is_full() {
            let row = rows.try_next().await.map_err(Error::failed)?;
            let is_end = row.is_none();
            if let Some(row) = row {
                candidates.add(row);
            }
            if is_end || candidates.picked.len() >= CANDIDATES_MAX {
                let picked = std::mem::take(&mut candidates.picked);
                self.resolve(client, picked, listing).await?;
            }
            if is_end {
                break;
            }
        }
        Ok(())
    }

    /// Takes the newest attempt of each of these events, in order, until the page is full. Events
    /// that expired are left out.
    async fn resolve(
        &self,
        client: ClientId,
        events: Vec<(Uuid, Uuid)>,
        listing: &mut Listing,
    ) -> Result<(), Error> {
        let reads = events
            .into_iter()
            .map(|(event, webhook)| self.newest_attempt(client, webhook, event));
        let mut attempts = stream::iter(reads).buffered(READS_MAX);
        while !listing.is_full()
            && let Some(newest) = attempts.try_next().await?
        {
            if let Some(newest) = newest {
                listing.offer(newest);
            }
        }
        Ok(())
    }

    async fn newest_attempt(
        &self,
        client: ClientId,
        webhook: Uuid,
        event: Uuid,
    ) -> Result<Option<Attempt>, Error> {
        let place = (id(client), webhook, day_of(event), event);
        let rows: Vec<Row> = self.read_all(&self.statements.select_newest, place).await?;
        let is_twice = matches!(&rows[..], [newest, next] if newest.attempt == next.attempt);
        if is_twice {
            let event = self
                .event((client, WebhookId(webhook)), EventId(event))
                .await?;
            return Ok(event.and_then(|event| event.attempts.into_iter().next_back()));
        }
        rows.into_iter().next().map(Attempt::try_from).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_id_of_a_millisecond_sorts_between_its_neighbours() {
        let at = Timestamp::from_millis(1_700_000_000_000);
        let id = first_id_at(at);
        assert_eq!((EventId(id).timestamp(), id.get_version_num()), (at, 8));
        let next = first_id_at(Timestamp::from_millis(1_700_000_000_001));
        assert!(LOWEST < id && id < next && next < HIGHEST);
    }

    #[test]
    fn a_range_without_limits_covers_all_days() {
        let (last, first) = IdRange::new(EventFilter::default(), None).days();
        assert!(first <= 0 && last > 100_000);
    }

    #[test]
    fn only_index_rows_about_the_newest_attempt_lead_to_an_event() {
        let webhook = Uuid::from_u128(7);
        let row = |event, attempt, status: EventStatus| {
            let status = status.as_str().to_owned();
            (Uuid::from_u128(event), attempt, status, webhook)
        };
        let mut candidates = Candidates::new(Some(EventStatus::Failed));
        for row in [
            // Failed, as its newest attempt says.
            row(4, 2, EventStatus::Failed),
            row(4, 1, EventStatus::Pending),
            // Delivered in the end.
            row(3, 2, EventStatus::Delivered),
            row(3, 1, EventStatus::Failed),
            // One attempt that was made twice under one number.
            row(2, 1, EventStatus::Failed),
            row(2, 1, EventStatus::Failed),
        ] {
            candidates.add(row);
        }
        let events: Vec<_> = candidates
            .picked
            .iter()
            .map(|(id, _)| id.as_u128())
            .collect();
        assert_eq!(events, [4, 2]);
    }
}
