//! Dead letters of all of a client's webhooks.

use axum::{extract::State, response::Response};
use serde::Deserialize;
use uuid::Uuid;

use super::{
    AppState,
    auth::Caller,
    cursor,
    events::{Include, parse},
    extract::EventPath,
    pages::{Bodies, LIMIT_MAX, Page, limit},
    problem::Problem,
    query::{self, Params},
    views::DeadLetterView,
};
use crate::{
    model::{ClientId, Event, EventFilter, EventId, EventStatus, Kind, Timestamp, WebhookId},
    store::{self, PAGE_BODY_BYTES_MAX, is_last_page},
};

/// The most dead letters that are read for one page. Otherwise a rare type would make one request
/// read all of them.
const READ_MAX: usize = 10 * LIMIT_MAX;

/// Query of the dead letters.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    webhook_id: Option<String>,
    r#type: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
    include: Option<Include>,
}

#[derive(Debug)]
struct Filter {
    webhook: Option<WebhookId>,
    kind: Option<Kind>,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
}

/// `GET /api/dead-letters`: newest first.
pub(super) async fn list(
    State(app): State<AppState>,
    Caller(client): Caller,
    Params(listing): Params<Listing>,
) -> Result<Response, Problem> {
    let kind = listing
        .r#type
        .as_deref()
        .map(str::parse::<Kind>)
        .transpose();
    let filter = Filter {
        webhook: parse(listing.webhook_id.as_ref(), "?webhook_id")?,
        kind: kind.map_err(|error| Problem::field("?type", error.to_string()))?,
        since: query::time(listing.since.as_ref(), "?since")?,
        until: query::time(listing.until.as_ref(), "?until")?,
    };
    let limit = limit(listing.limit)?;
    let bodies = Bodies::of(listing.include);
    let name = format!("dead letters {client} {filter:?}");
    let after = listing
        .cursor
        .map(|text| cursor::decode(&app.cursor_key, &name, &text))
        .transpose()?
        .map(|place| EventId(Uuid::from_u128(place)));
    if let Some(webhook) = filter.webhook {
        app.webhook(client, webhook).await?;
    }
    let permit = app.event_pages.permit(client, bodies).await;
    let (events, next) = page(&app, client, &filter, after, limit).await?;
    let next_cursor = next.map(|next| cursor::encode(&app.cursor_key, &name, next.0.as_u128()));
    let has_more = next_cursor.is_some();
    let page = |events: &[Event]| Page {
        data: events
            .iter()
            .map(|event| DeadLetterView::listed(event, bodies))
            .collect(),
        next_cursor,
        has_more,
    };
    Ok(app.event_page(client, permit, bodies, events, page).await)
}

/// The next dead letters after `place`, of any type.
async fn batch(
    app: &AppState,
    client: ClientId,
    filter: &Filter,
    place: Option<EventId>,
    limit: usize,
) -> Result<Vec<Event>, store::Error> {
    let Some(webhook) = filter.webhook else {
        return app.store.dead_letters(client, place, limit).await;
    };
    let filter = EventFilter {
        status: Some(EventStatus::Failed),
        since: filter.since,
        until: filter.until,
    };
    app.store
        .events(client, webhook, filter, place, limit)
        .await
}

/// Up to `limit` of them, and where the list goes on if it does.
async fn page(
    app: &AppState,
    client: ClientId,
    filter: &Filter,
    after: Option<EventId>,
    limit: usize,
) -> Result<(Vec<Event>, Option<EventId>), Problem> {
    let end = filter.until.map(EventId::first_at);
    let mut place = after.into_iter().chain(end).min();
    let mut found = Vec::new();
    let mut read_count = 0;
    let mut body_bytes = 0;
    let batch_len = if filter.kind.is_none() {
        limit + 1
    } else {
        LIMIT_MAX
    };
    loop {
        let events = batch(app, client, filter, place, batch_len).await?;
        read_count += events.len();
        let mut is_end = is_last_page(&events, batch_len);
        for event in events {
            let id = event.last().delivery.event_id;
            if filter.since.is_some_and(|since| id.timestamp() < since) {
                is_end = true;
                break;
            }
            let fits = filter
                .kind
                .as_ref()
                .is_none_or(|kind| *kind == event.last().delivery.kind);
            if fits && found.len() == limit {
                // There is one more: go on after what was read before it.
                return Ok((found, place));
            }
            place = Some(id);
            body_bytes += event.last().delivery.body.len();
            found.extend(fits.then_some(event));
        }
        if is_end {
            return Ok((found, None));
        }
        if read_count >= READ_MAX || body_bytes >= PAGE_BODY_BYTES_MAX {
            return Ok((found, place));
        }
    }
}

/// `GET /api/dead-letters/{event_id}`: with all attempts; one that was delivered since is none any
/// more.
pub(super) async fn get(
    State(app): State<AppState>,
    EventPath(client, id): EventPath,
) -> Result<Response, Problem> {
    let event = app.store.event(client, id.webhook, id.event).await?;
    let event = event.filter(|event| event.last().status == EventStatus::Failed);
    let event = event.ok_or_else(Problem::not_found)?;
    Ok(app.event(client, event, DeadLetterView::whole).await)
}
