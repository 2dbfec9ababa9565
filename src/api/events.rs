//! The audit as callers see it, and trying again by hand.

use std::{fmt::Debug, str::FromStr};

use axum::{Json, extract::State, http::StatusCode, response::Response};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    AppState, cursor,
    extract::{EventPath, WebhookPath},
    pages::{Bodies, Page, limit},
    problem::{Code, Problem},
    query::{self, Params},
    views::EventView,
};
use crate::{
    model::{Attempt, Event, EventFilter, EventId, EventStatus, Priority, Webhook},
    store::is_last_page,
};

/// Query of a list of events.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    status: Option<String>,
    since: Option<String>,
    until: Option<String>,
    limit: Option<usize>,
    cursor: Option<String>,
    include: Option<Include>,
}

/// What a list of events shows beside the least.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Include {
    /// `content` and `payload`.
    Payload,
}

impl Bodies {
    pub(super) fn of(include: Option<Include>) -> Self {
        match include {
            Some(Include::Payload) => Self::Shown,
            None => Self::LeftOut,
        }
    }
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

/// `GET /api/webhooks/{webhook_id}/events`: newest first.
pub(super) async fn list(
    State(app): State<AppState>,
    WebhookPath(client, webhook): WebhookPath,
    Params(listing): Params<Listing>,
) -> Result<Response, Problem> {
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
        .transpose()?
        .map(|place| EventId(Uuid::from_u128(place)));
    let bodies = Bodies::of(listing.include);
    let permit = app.event_pages.permit(client, bodies).await;
    // One more than asked for tells whether there is more.
    let mut events = app
        .store
        .events(client, webhook, filter, after, limit + 1)
        .await?;
    let has_more = !is_last_page(&events, limit + 1);
    events.truncate(limit);
    let last = events.last().map(|event| event.last().delivery.event_id);
    let next_cursor = last
        .filter(|_| has_more)
        .map(|last| cursor::encode(&app.cursor_key, &name, last.0.as_u128()));
    let page = |events: &[Event]| Page {
        data: events
            .iter()
            .map(|event| EventView::listed(event, bodies))
            .collect(),
        next_cursor,
        has_more,
    };
    Ok(app.event_page(client, permit, bodies, events, page).await)
}

/// `GET /api/webhooks/events/{event_id}`: with all attempts.
pub(super) async fn get(
    State(app): State<AppState>,
    EventPath(client, id): EventPath,
) -> Result<Response, Problem> {
    let event = app
        .store
        .event(client, id.webhook, id.event)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok(app.event(client, event, EventView::whole).await)
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
    // The bus knows more than the store: the event's place in its chat.
    if !app
        .bus
        .bring_forward(client, id.event, app.bus.now())
        .await?
    {
        begin_round(&app, &webhook, event.last()).await?;
    }
    Ok((
        StatusCode::ACCEPTED,
        Json(json!({"event_id": id.to_string(), "status": "pending"})),
    ))
}

/// Sends an event that is not parked.
async fn begin_round(app: &AppState, webhook: &Webhook, last: &Attempt) -> Result<(), Problem> {
    let client = webhook.client_id;
    let event = last.delivery.event_id;
    if app.bus.is_queued(client, &webhook.phone, event).await? {
        return Err(Problem::new(
            Code::InLine,
            "it goes once those before it are delivered or given up: retry the first",
        ));
    }
    if matches!(last.status, EventStatus::Failed | EventStatus::Delivered) {
        if last.delivery.is_cut() {
            return Err(Problem::new(
                Code::TooLarge,
                "its body was not kept, because nats-server did not take it",
            ));
        }
        app.admit(client, last.delivery.body.len()).await?;
        app.take_turn(client, last.delivery.body.len()).await?;
        let delivery = last.delivery.for_new_round(last.number, Priority::Normal);
        // Asked for twice before its attempt is on record, it goes once: both have one id.
        return Ok(app.bus.publish_delivery(&delivery).await?);
    }
    // It has not ended and is not parked, so it is held, or its attempt is in flight. A copy would
    // be sent beside it.
    let held = app.bus.held_counts(client, Some(&webhook.phone)).await?;
    if held.contains_key(webhook.phone.as_str()) {
        return Ok(app
            .bus
            .jobs()
            .request_release(webhook, app.bus.now())
            .await?);
    }
    Err(Problem::new(
        Code::InFlight,
        "an attempt is under way, or its result is not on record yet; look at the event again",
    ))
}
