//! Registering, showing, changing and deleting webhooks.

use std::time::{Instant, SystemTime};

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{
    AppState,
    auth::Caller,
    delivery_options::{DeliveryOptionsChange, Headers, too_many_headers},
    extract::{Body, WebhookPath},
    problem::{FieldError, Problem},
    views::{Page, WebhookView},
};
use crate::{
    model::{
        BURST_SECONDS_MAX, ClientId, Delivery, DeliveryOrder, EventId, EventType, Kind, Message,
        NoticeKind, Phone, Priority, SigningSecret, Timestamp, Webhook, WebhookId,
    },
    policy::address::check_url,
    wire::{delivery_body, new_signing_key},
};

const MAX_RETRIES: u16 = 20;
const RATE_MAX: u32 = 10_000;
const RETRY_WAIT_SECONDS_MAX: u32 = 7 * 24 * 60 * 60;
const IN_FLIGHT_MAX: u32 = 256;
const METADATA_BYTES_MAX: usize = 16 * 1024;
const SECRET_BYTES: usize = 32;

type Answer<T> = Result<(StatusCode, Json<T>), Problem>;

/// What can be set, all of it optional: absent means unchanged, or the default of a new webhook.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Change {
    webhook_url: Option<String>,
    is_active: Option<bool>,
    max_retries: Option<u16>,
    rate_per_second: Option<u32>,
    burst: Option<u32>,
    in_flight: Option<u32>,
    retry_schedule: Option<Vec<u32>>,
    ordering: Option<DeliveryOrder>,
    event_types: Option<Vec<EventType>>,
    format: Option<String>,
    signature: Option<String>,
    headers: Option<Headers>,
    metadata: Option<Map<String, Value>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Registration {
    phone_number: String,
    webhook_url: String,
    client_id: Option<u64>,
    is_active: Option<bool>,
    max_retries: Option<u16>,
    rate_per_second: Option<u32>,
    burst: Option<u32>,
    in_flight: Option<u32>,
    retry_schedule: Option<Vec<u32>>,
    ordering: Option<DeliveryOrder>,
    event_types: Option<Vec<EventType>>,
    format: Option<String>,
    signature: Option<String>,
    headers: Option<Headers>,
    metadata: Option<Map<String, Value>>,
}

pub(super) fn now() -> Timestamp {
    Timestamp::from_system(SystemTime::now())
}

pub(super) fn new_secret() -> SigningSecret {
    SigningSecret::from_key(&rand::random::<[u8; SECRET_BYTES]>())
}

impl Change {
    fn sending(&self) -> DeliveryOptionsChange<'_> {
        DeliveryOptionsChange {
            format: self.format.as_ref(),
            signature: self.signature.as_ref(),
            headers: self.headers.as_ref(),
        }
    }

    /// All that is wrong with it.
    fn errors(&self, app: &AppState) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let mut wrong = |pointer: &'static str, detail: String| {
            errors.push(FieldError {
                pointer: pointer.into(),
                detail,
            })
        };
        if let Some(url) = &self.webhook_url
            && let Err(error) = check_url(url, app.egress.allow_http, &app.egress.allow_cidrs)
        {
            wrong("/webhook_url", error.to_string());
        }
        if self.max_retries.is_some_and(|number| number > MAX_RETRIES) {
            wrong("/max_retries", format!("is from 0 to {MAX_RETRIES}"));
        }
        if self
            .rate_per_second
            .is_some_and(|rate| !(1..=RATE_MAX).contains(&rate))
        {
            wrong("/rate_per_second", format!("is from 1 to {RATE_MAX}"));
        }
        if self
            .in_flight
            .is_some_and(|number| !(1..=IN_FLIGHT_MAX).contains(&number))
        {
            wrong("/in_flight", format!("is from 1 to {IN_FLIGHT_MAX}"));
        }
        if self
            .burst
            .is_some_and(|burst| !(1..=RATE_MAX).contains(&burst))
        {
            wrong(
                "/burst",
                format!("is from 1 to {RATE_MAX}, and at most {BURST_SECONDS_MAX} times the rate"),
            );
        } else if let (Some(burst), Some(rate)) = (self.burst, self.rate_per_second)
            && burst > burst_max(rate)
        {
            let most = burst_max(rate);
            wrong(
                "/burst",
                format!("is at most {BURST_SECONDS_MAX} times the rate, which makes {most}"),
            );
        }
        if let Some(schedule) = &self.retry_schedule {
            if schedule.len() > usize::from(MAX_RETRIES) {
                wrong(
                    "/retry_schedule",
                    format!("has at most {MAX_RETRIES} waits"),
                );
            }
            if schedule
                .iter()
                .any(|seconds| !(1..=RETRY_WAIT_SECONDS_MAX).contains(seconds))
            {
                wrong(
                    "/retry_schedule",
                    format!("has waits from 1 to {RETRY_WAIT_SECONDS_MAX} seconds (7 days)"),
                );
            }
        }
        if self.event_types.as_ref().is_some_and(Vec::is_empty) {
            wrong(
                "/event_types",
                "names at least one of message and receipt".to_owned(),
            );
        }
        let metadata_bytes = self
            .metadata
            .as_ref()
            .map_or(0, |map| json!(map).to_string().len());
        if metadata_bytes > METADATA_BYTES_MAX {
            wrong(
                "/metadata",
                format!("has at most {METADATA_BYTES_MAX} bytes as JSON"),
            );
        }
        errors.extend(self.sending().errors());
        errors
    }

    /// Puts what is set into a webhook. Making it active ends a stop by wahook too. `None`, and
    /// nothing is changed, when it would have too many headers.
    fn apply(&self, webhook: &mut Webhook) -> Option<()> {
        self.sending().apply(&mut webhook.sending)?;
        if let Some(url) = &self.webhook_url {
            webhook.url.clone_from(url);
        }
        if let Some(is_active) = self.is_active {
            webhook.is_active = is_active;
            if is_active {
                webhook.disabled = None;
                webhook.failing_since = None;
            }
        }
        webhook.max_retries = self.max_retries.unwrap_or(webhook.max_retries);
        webhook.rate_per_second = self.rate_per_second.unwrap_or(webhook.rate_per_second);
        webhook.burst = self.burst.or(webhook.burst);
        // A burst that was set for a faster rate goes down with it, and so does one that is set for
        // an older, slower rate.
        webhook.burst = webhook
            .burst
            .map(|burst| burst.min(burst_max(webhook.rate_per_second)));
        webhook.in_flight = self.in_flight.unwrap_or(webhook.in_flight);
        if let Some(schedule) = &self.retry_schedule {
            webhook.retry_schedule.clone_from(schedule);
        }
        webhook.ordering = self.ordering.unwrap_or(webhook.ordering);
        if let Some(event_types) = &self.event_types {
            webhook.event_types.clone_from(event_types);
            webhook.event_types.sort_unstable();
            webhook.event_types.dedup();
        }
        if let Some(metadata) = &self.metadata {
            webhook.metadata.clone_from(metadata);
        }
        webhook.updated_at = now();
        Some(())
    }
}

/// The largest burst at this rate.
fn burst_max(rate: u32) -> u32 {
    rate.saturating_mul(BURST_SECONDS_MAX)
}

/// Tells the client's operational webhook of a webhook that wahook had stopped and that goes on.
async fn tell_enabled(app: &AppState, webhook: &Webhook, was_disabled: bool) {
    if !was_disabled || !webhook.takes_deliveries() || webhook.operations.is_some() {
        return;
    }
    let data = [
        ("webhook_id", json!(webhook.id)),
        ("phone_number", json!(webhook.phone)),
    ];
    let data = data
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
    let client = webhook.client_id;
    let at = webhook.updated_at;
    let once = format!("{} {at}", webhook.id);
    // It is active all the same: the request has done what it was asked for.
    if let Err(error) = app
        .bus
        .notify(client, NoticeKind::EndpointEnabled, at, data, &once)
        .await
    {
        tracing::warn!(%error, client.id = %client, webhook.id = %webhook.id, "a notice is lost");
    }
}

async fn view(app: &AppState, webhook: &Webhook) -> WebhookView {
    let ids = [webhook.id];
    let (states, held) = tokio::join!(
        app.states(webhook.client_id, &ids),
        app.held(webhook.client_id, Some(&webhook.phone))
    );
    let known = states.map(|mut states| states.remove(&webhook.id).unwrap_or_default());
    WebhookView::new(webhook, known, held.as_ref())
}

/// `POST /api/webhooks/register`: a number that has a webhook already gets it changed.
pub(super) async fn register(
    State(app): State<AppState>,
    Caller(client): Caller,
    Body(registration): Body<Registration>,
) -> Answer<WebhookView> {
    const USED_UP: &str =
        "the limit of registrations per minute is used up; see the retry-after header";
    app.registrations
        .check(client, Instant::now())
        .map_err(|wait| Problem::too_many(wait, USED_UP))?;
    let Registration {
        phone_number,
        webhook_url,
        client_id,
        is_active,
        max_retries,
        rate_per_second,
        burst,
        in_flight,
        retry_schedule,
        ordering,
        event_types,
        format,
        signature,
        headers,
        metadata,
    } = registration;
    // Registering again is how a stopped webhook is taken up again, unless told otherwise.
    let is_active = Some(is_active.unwrap_or(true));
    let webhook_url = Some(webhook_url);
    let change = Change {
        webhook_url,
        is_active,
        max_retries,
        rate_per_second,
        burst,
        in_flight,
        retry_schedule,
        ordering,
        event_types,
        format,
        signature,
        headers,
        metadata,
    };
    let mut errors = change.errors(&app);
    if client_id.is_some_and(|id| id != client.get()) {
        let detail = "is not the client of this token; leave it out".to_owned();
        errors.push(FieldError {
            pointer: "/client_id".into(),
            detail,
        });
    }
    let phone: Result<Phone, _> = phone_number.parse();
    let refused = match &phone {
        Err(error) => Some(error.to_string()),
        Ok(phone) => phone
            .is_operational()
            .then(|| "is a number that nobody can have".to_owned()),
    };
    if let Some(detail) = refused {
        errors.push(FieldError {
            pointer: "/phone_number".into(),
            detail,
        });
    }
    let Ok(phone) = phone else {
        return Err(Problem::fields(errors));
    };
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }

    let id = WebhookId(Uuid::now_v7());
    let secret = new_secret();
    let mut was_disabled = false;
    let make = |present: Option<&Webhook>| {
        was_disabled = present.is_some_and(|webhook| webhook.disabled.is_some());
        let mut webhook = present
            .cloned()
            .unwrap_or_else(|| fresh(&app, id, client, &phone, &secret));
        change.apply(&mut webhook).ok_or_else(too_many_headers)?;
        Ok::<_, Problem>(webhook)
    };
    let webhooks = app.bus.webhooks();
    let (webhook, created) = webhooks.try_register(client, &phone, make).await?;
    if !created && webhook.takes_deliveries() {
        app.bus.jobs().request_release(&webhook, now()).await?;
    }
    tell_enabled(&app, &webhook, was_disabled).await;
    let view = view(&app, &webhook).await;
    if created {
        tracing::info!(client.id = %client, webhook.id = %webhook.id, "webhook registered");
        return Ok((StatusCode::CREATED, Json(view.with_secret(&webhook))));
    }
    Ok((StatusCode::OK, Json(view)))
}

pub(super) fn fresh(
    app: &AppState,
    id: WebhookId,
    client_id: ClientId,
    phone: &Phone,
    secret: &SigningSecret,
) -> Webhook {
    Webhook {
        max_retries: app.deliver.max_retries,
        rate_per_second: app.deliver.rate_per_second,
        in_flight: app.deliver.in_flight,
        secrets: vec![secret.clone()],
        ..Webhook::new(id, client_id, phone.clone(), String::new(), now())
    }
}

/// `GET /api/webhooks/list`: all of the client's, by phone number.
pub(super) async fn list(
    State(app): State<AppState>,
    Caller(client): Caller,
) -> Answer<Page<WebhookView>> {
    let webhooks = app.bus.webhooks().list(client).await?;
    let ids: Vec<_> = webhooks.iter().map(|webhook| webhook.id).collect();
    let (mut states, held) = tokio::join!(app.states(client, &ids), app.held(client, None));
    let mut of = |id| {
        states
            .as_mut()
            .map(|states| states.remove(&id).unwrap_or_default())
    };
    let data = webhooks
        .iter()
        .map(|webhook| WebhookView::new(webhook, of(webhook.id), held.as_ref()))
        .collect();
    Ok((
        StatusCode::OK,
        Json(Page {
            data,
            next_cursor: None,
            has_more: false,
        }),
    ))
}

/// `GET /api/webhooks/{webhook_id}`
pub(super) async fn get(
    State(app): State<AppState>,
    WebhookPath(client, id): WebhookPath,
) -> Answer<WebhookView> {
    let webhook = app.webhook(client, id).await?;
    Ok((StatusCode::OK, Json(view(&app, &webhook).await)))
}

/// `PATCH /api/webhooks/{webhook_id}`: making it active sends what was held meanwhile.
pub(super) async fn patch(
    State(app): State<AppState>,
    WebhookPath(client, id): WebhookPath,
    Body(change): Body<Change>,
) -> Answer<WebhookView> {
    let errors = change.errors(&app);
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    let mut was_disabled = false;
    let apply = |webhook: &mut Webhook| {
        was_disabled = webhook.disabled.is_some();
        change.apply(webhook).ok_or_else(too_many_headers)
    };
    let changed = app.bus.webhooks().try_update(client, id, apply).await?;
    let webhook = changed.ok_or_else(Problem::not_found)?;
    if change.is_active == Some(true) {
        app.bus.jobs().request_release(&webhook, now()).await?;
    }
    tell_enabled(&app, &webhook, was_disabled).await;
    Ok((StatusCode::OK, Json(view(&app, &webhook).await)))
}

/// `DELETE /api/webhooks/{webhook_id}`: what was held for it is dropped.
pub(super) async fn delete(
    State(app): State<AppState>,
    WebhookPath(client, id): WebhookPath,
) -> Result<StatusCode, Problem> {
    let webhook = app
        .bus
        .webhooks()
        .delete(client, id)
        .await?
        .ok_or_else(Problem::not_found)?;
    app.bus.purge_held(client, &webhook.phone).await?;
    app.bus.purge_chat_queues(client, &webhook.phone).await?;
    tracing::info!(client.id = %client, webhook.id = %id, "webhook deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/webhooks/{webhook_id}/rotate-secret`: what signs is replaced; the old one signs
/// beside it for a while.
pub(super) async fn rotate_secret(
    State(app): State<AppState>,
    WebhookPath(client, id): WebhookPath,
) -> Answer<WebhookView> {
    let secret = new_secret();
    let key = new_signing_key();
    let at = now();
    let end = at.after(app.settings.secret_overlap);
    let rotate = |webhook: &mut Webhook| {
        let scheme = webhook.sending.signature;
        if webhook.uses_secret() {
            webhook.rotate_secret(secret.clone(), end);
        }
        if scheme.has_ed25519() {
            webhook.rotate_key(key.clone(), end);
        }
        webhook.updated_at = at;
    };
    let webhook = app
        .bus
        .webhooks()
        .update(client, id, rotate)
        .await?
        .ok_or_else(Problem::not_found)?;
    let view = view(&app, &webhook).await;
    let is_new = webhook.uses_secret();
    Ok((
        StatusCode::OK,
        Json(if is_new {
            view.with_secret(&webhook)
        } else {
            view
        }),
    ))
}

/// `POST /api/webhooks/{webhook_id}/test`: a message of type `test` goes the whole way from the
/// retry stream on.
pub(super) async fn test(
    State(app): State<AppState>,
    WebhookPath(client, id): WebhookPath,
) -> Answer<Value> {
    let webhook = app.webhook(client, id).await?;
    let at = now();
    let message_id = format!("test-{}", Uuid::now_v7().simple());
    let message = Message {
        client_id: client,
        phone: webhook.phone.clone(),
        message_id: message_id.parse().map_err(|_| Problem::not_found())?,
        chat: webhook.phone.as_str().to_owned(),
        from: webhook.phone.as_str().to_owned(),
        to: webhook.phone.as_str().to_owned(),
        timestamp: at,
        kind: Kind::Test,
        content: "This is a test from wahook.".to_owned(),
        metadata: Map::new(),
    };
    let event_id = EventId::derive(
        at,
        id,
        &message.chat,
        &message.from,
        &message.message_id,
        &message.kind,
    );
    let delivery = Delivery {
        event_id,
        webhook_id: id,
        client_id: client,
        phone: webhook.phone.clone(),
        message_id: message.message_id.clone(),
        kind: Kind::Test,
        created_at: at,
        body: delivery_body(&webhook, &message, event_id, at),
        attempt_count: 0,
        attempts_this_round: 0,
        priority: Priority::Normal,
        chat_key: None,
    };
    app.bus.publish_delivery(&delivery).await?;
    Ok((
        StatusCode::ACCEPTED,
        Json(json!({"event_id": delivery.public_id().to_string(), "message_id": message_id})),
    ))
}
