//! Pages of lists.

use std::sync::Arc;

use axum::{
    Json,
    body::Body,
    response::{IntoResponse, Response},
};
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{AppState, cursor, problem::Problem};
use crate::{
    model::{ClientId, Event},
    tasks::KeyedSemaphore,
};

/// Pages of events that are in memory at the same time, of those with bodies and of those without.
/// Each has some megabytes.
const PAGES_MAX: usize = 16;
/// Those of one client.
const CLIENT_PAGES_MAX: usize = 4;

const LIMIT_DEFAULT: usize = 50;
pub(super) const LIMIT_MAX: usize = 250;
/// A page without bodies ends once it has as many bytes as this. One item more fits in at most.
const PAGE_BYTES_MAX: usize = 1 << 20;

pub(super) fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(LIMIT_DEFAULT);
    if (1..=LIMIT_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::field(
        "?limit",
        format!("is from 1 to {LIMIT_MAX}"),
    ))
}

/// The parameters of a list without filters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    limit: Option<usize>,
    cursor: Option<String>,
}

/// The page that a request asks for.
pub(super) struct Wanted {
    key: [u8; 32],
    /// Names the list, with its client.
    list: String,
    /// The place of the last item of the page before.
    pub(super) after: Option<u128>,
    pub(super) limit: usize,
}

impl ListQuery {
    /// Checks the parameters for a list of this name.
    pub(super) fn check(self, key: &[u8; 32], list: String) -> Result<Wanted, Problem> {
        let limit = limit(self.limit)?;
        let after = self.cursor.map(|text| cursor::decode(key, &list, &text));
        Ok(Wanted {
            key: *key,
            list,
            after: after.transpose()?,
            limit,
        })
    }
}

impl Wanted {
    /// The page of these items, each with its place. One item more than the limit tells that there
    /// are more.
    pub(super) fn page<T: Serialize>(
        &self,
        items: impl IntoIterator<Item = (u128, T)>,
    ) -> Page<Box<RawValue>> {
        let mut items = items.into_iter().peekable();
        let mut data = Vec::new();
        let mut bytes = 0;
        let mut last = None;
        while data.len() < self.limit
            && bytes < PAGE_BYTES_MAX
            && let Some((place, item)) = items.next()
        {
            let item = to_raw_value(&item).expect("views have texts as keys");
            bytes += item.get().len();
            data.push(item);
            last = Some(place);
        }
        let next = last.filter(|_| items.peek().is_some());
        let next_cursor = next.map(|place| cursor::encode(&self.key, &self.list, place));
        Page {
            data,
            has_more: next_cursor.is_some(),
            next_cursor,
        }
    }
}

/// A page of a list.
#[derive(Serialize)]
pub(super) struct Page<T> {
    pub(super) data: Vec<T>,
    pub(super) next_cursor: Option<String>,
    pub(super) has_more: bool,
}

/// Whether a list shows what the messages hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bodies {
    Shown,
    LeftOut,
}

/// Places for pages of events. Their bodies are read from the store, whether they are shown or not.
#[derive(Debug)]
pub(super) struct EventPages {
    clients: KeyedSemaphore<ClientId>,
    shown: Arc<Semaphore>,
    /// Of pages that do not wait for their readers.
    left_out: Arc<Semaphore>,
}

impl Default for EventPages {
    fn default() -> Self {
        Self {
            clients: KeyedSemaphore::new(CLIENT_PAGES_MAX),
            shown: Arc::new(Semaphore::new(PAGES_MAX)),
            left_out: Arc::new(Semaphore::new(PAGES_MAX)),
        }
    }
}

/// A place for a page of events.
#[derive(Debug)]
pub(super) struct PagePermit {
    _node: OwnedSemaphorePermit,
    _client: OwnedSemaphorePermit,
}

impl EventPages {
    /// Waits for a place, first for one among the client's.
    pub(super) async fn permit(&self, client: ClientId, bodies: Bodies) -> PagePermit {
        let of_client = self.clients.acquire(client).await;
        let node = match bodies {
            Bodies::Shown => &self.shown,
            Bodies::LeftOut => &self.left_out,
        };
        let of_node = Arc::clone(node).acquire_owned().await;
        PagePermit {
            _node: of_node.expect("the semaphore is never closed"),
            _client: of_client,
        }
    }
}

impl AppState {
    /// A page of these events as an answer. Its place is free once the page is made, or, if it
    /// shows bodies, once the caller has read it or its connection ends.
    pub(super) async fn event_page<T: Serialize>(
        &self,
        client: ClientId,
        permit: PagePermit,
        bodies: Bodies,
        events: Vec<Event>,
        page: impl FnOnce(&[Event]) -> Page<T>,
    ) -> Response {
        let make = || Json(page(&events)).into_response();
        let made = self
            .heavy
            .run(Some(client), body_bytes(&events), make)
            .await;
        if bodies == Bodies::LeftOut {
            return made;
        }
        made.map(|body| {
            let pieces = body.into_data_stream().inspect(move |_| {
                let _held = &permit;
            });
            Body::from_stream(pieces)
        })
    }

    /// One event as an answer.
    pub(super) async fn event<T>(
        &self,
        client: ClientId,
        event: Event,
        view: impl FnOnce(&Event) -> T,
    ) -> Response
    where
        T: Serialize,
    {
        let bytes = event.last().delivery.body.len();
        let make = || Json(view(&event)).into_response();
        self.heavy.run(Some(client), bytes, make).await
    }
}

fn body_bytes(events: &[Event]) -> usize {
    let bodies = events.iter().map(|event| event.last().delivery.body.len());
    bodies.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [7; 32];

    fn wanted(query: &str) -> Result<Wanted, Problem> {
        let query: ListQuery = serde_urlencoded::from_str(query).expect("parameters");
        query.check(&KEY, "numbers".to_owned())
    }

    /// All pages of a list of these items, by their lengths.
    fn walk(items: &[String], limit: usize) -> Vec<usize> {
        let mut lengths = Vec::new();
        let mut cursor = String::new();
        loop {
            let asked = wanted(&format!("limit={limit}{cursor}")).expect("valid");
            let first = asked.after.map_or(0, |after| after as usize + 1);
            let rest = (first as u128..).zip(&items[first..]);
            let page = asked.page(rest.take(limit + 1));
            lengths.push(page.data.len());
            assert_eq!(page.has_more, page.next_cursor.is_some());
            let Some(next) = page.next_cursor else {
                return lengths;
            };
            cursor = format!("&cursor={next}");
        }
    }

    #[test]
    fn pages_are_bounded_by_items_and_by_bytes() {
        let small = vec!["x".to_owned(); 7];
        assert_eq!(walk(&small, 3), [3, 3, 1]);
        assert_eq!(walk(&small, 7), [7]);
        assert_eq!(walk(&[], 7), [0]);
        let large = vec!["x".repeat(400_000); 7];
        assert_eq!(walk(&large, 250), [3, 3, 1]);
        let huge = vec!["x".repeat(3_000_000); 2];
        assert_eq!(walk(&huge, 250), [1, 1], "a page has at least one item");
    }

    #[test]
    fn limits_and_cursors_that_are_wrong_are_refused() {
        for wrong in ["limit=0", "limit=251", "cursor=", "cursor=x"] {
            assert!(wanted(wrong).is_err(), "{wrong}");
        }
        assert_eq!(wanted("").expect("valid").limit, LIMIT_DEFAULT);
    }
}
