//! The audit as callers see it, and trying again by hand.

use std::{fmt::Debug, str::FromStr};

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AppState,
    clock::now,
    cursor,
    extract::{EventPath, WebhookPath},
    problem::{Code, Problem},
    query::{self, Params},
    views::{EventView, Page},
};
use crate::model::{Event, EventFilter, EventId, Priority};

const LIMIT_DEFAULT: usize = 50;
pub(super) const LIMIT_MAX: usize = 250;

/// Query of a list of events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    status: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
}

pub(super) fn parse<T: FromStr<Err: ToString>>(
    text: Option<&String>,
    pointer: &'static str,
) -> Result<Option<T>, Problem> {
    text.map(|text| {
        text.parse()
            .map_err(|error: T::Err| Problem::field(pointer, error.to_string()))
    })
    .transpose()
}

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

/// One more than asked for was read, to know whether there is more.
fn page(app: &AppState, list: &str, limit: usize, mut events: Vec<Event>) -> Page<EventView> {
    let has_more = events.len() > limit;
    events.truncate(limit);
    let last: Option<EventId> = events.last().map(|event| event.last().delivery.event_id);
    Page {
        data: events.iter().map(EventView::listed).collect(),
        next_cursor: last
            .filter(|_| has_more)
            .map(|last| cursor::encode(&app.cursor_key, list, last)),
        has_more,
    }
}

/// `GET /api/webhooks/{webhook_id}/events`: newest first.
pub(super) async fn list(
    State(app): State<AppState>,
    WebhookPath(client, webhook): WebhookPath,
    Params(listing): Params<Listing>,
) -> Result<Json<Page<EventView>>, Problem> {
    app.webhook(client, webhook).await?;
    let filter = EventFilter {
        status: parse(listing.status.as_ref(), "?status")?,
        since: query::time(listing.since.as_ref(), "?since")?,
        until: query::time(listing.until.as_ref(), "?until")?,
    };
    let limit = limit(listing.limit)?;
    let name = format!("events {client} {webhook} {filter:?}");
    let after = listing
        .cursor
        .map(|text| cursor::decode(&app.cursor_key, &name, &text))
        .transpose()?;
    let events = app
        .store
        .events(client, webhook, filter, after, limit + 1)
        .await?;
    Ok(Json(page(&app, &name, limit, events)))
}

/// `GET /api/webhooks/events/{event_id}`: with all attempts.
pub(super) async fn get(
    State(app): State<AppState>,
    EventPath(client, id): EventPath,
) -> Result<Json<EventView>, Problem> {
    let event = app
        .store
        .event(client, id.webhook, id.event)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok(Json(EventView::whole(&event)))
}

/// `POST /api/webhooks/events/{event_id}/retry`: one more round, with the whole retry schedule
/// before it. A retry that waits already is brought forward instead of made twice.
pub(super) async fn retry(
    State(app): State<AppState>,
    EventPath(client, id): EventPath,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let event = app
        .store
        .event(client, id.webhook, id.event)
        .await?
        .ok_or_else(Problem::not_found)?;
    let webhook = app.webhook(client, id.webhook).await?;
    if !webhook.takes_deliveries() {
        return Err(Problem::new(
            Code::Held,
            "make the webhook active first: that sends what it holds",
        ));
    }
    let last = event.last();
    let now = now();
    // What waits knows more than the store: its place in its chat.
    if !app.bus.bring_forward(client, id.event, now).await? {
        if app.bus.is_queued(client, &webhook.phone, id.event).await? {
            return Err(Problem::new(
                Code::InLine,
                "it goes once those before it are delivered or given up: retry the first",
            ));
        }
        if last.delivery.is_cut() {
            return Err(Problem::new(
                Code::TooLarge,
                "its body was not kept, because nats-server did not take it",
            ));
        }
        let delivery = last.delivery.for_new_round(last.number, Priority::Normal);
        app.bus.park(&delivery, now).await?;
    }
    Ok((
        StatusCode::ACCEPTED,
        Json(json!({"event_id": id.to_string(), "status": "pending"})),
    ))
}
