//! A client's operational webhook: what happens to its webhooks and sessions, told like messages
//! are.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    AppState,
    auth::Caller,
    delivery_options::{DeliveryOptionsChange, DeliveryOptionsView, Headers, too_many_headers},
    extract::Body,
    problem::{FieldError, Problem},
    webhooks::{fresh, new_secret, now},
};
use crate::{
    model::{DisabledReason, NoticeKind, NoticeSettings, Phone, Webhook, WebhookId, WebhookStatus},
    policy::address::check_url,
};

const THRESHOLD_DEFAULT: u32 = 100;
const THRESHOLD_MAX: u32 = 1_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    webhook_url: String,
    events: Option<Vec<String>>,
    dead_letter_threshold: Option<u32>,
    is_active: Option<bool>,
    signature: Option<String>,
    headers: Option<Headers>,
}

/// What callers see of it.
#[derive(Serialize)]
pub(super) struct OperationsView {
    id: WebhookId,
    webhook_url: String,
    is_active: bool,
    status: WebhookStatus,
    disabled_reason: Option<DisabledReason>,
    events: Vec<NoticeKind>,
    dead_letter_threshold: u32,
    #[serde(flatten)]
    sending: DeliveryOptionsView,
    signing_secret_hint: Option<String>,
    /// Shown only when it was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_secret: Option<String>,
    created_at: String,
    updated_at: String,
}

impl OperationsView {
    fn new(webhook: &Webhook, is_new: bool) -> Self {
        let operations = webhook.operations.as_ref();
        let secret = webhook.secrets.first();
        Self {
            id: webhook.id,
            webhook_url: webhook.url.clone(),
            is_active: webhook.is_active,
            status: webhook.status(false),
            disabled_reason: webhook.disabled,
            events: operations
                .map(|operations| operations.events.clone())
                .unwrap_or_default(),
            dead_letter_threshold: operations.map_or(THRESHOLD_DEFAULT, |operations| {
                operations.dead_letter_threshold
            }),
            sending: DeliveryOptionsView::from(&webhook.sending),
            signing_secret_hint: secret.map(|secret| secret.hint()),
            signing_secret: secret
                .filter(|_| is_new)
                .map(|secret| secret.expose().to_owned()),
            created_at: webhook.created_at.to_string(),
            updated_at: webhook.updated_at.to_string(),
        }
    }
}

impl Wanted {
    fn sending(&self) -> DeliveryOptionsChange<'_> {
        DeliveryOptionsChange {
            format: None,
            signature: self.signature.as_ref(),
            headers: self.headers.as_ref(),
        }
    }

    /// The events asked for, or all that is wrong.
    fn check(&self, app: &AppState) -> Result<Vec<NoticeKind>, Problem> {
        let mut errors = self.sending().errors();
        let mut wrong = |pointer: &'static str, detail: String| {
            errors.push(FieldError {
                pointer: pointer.into(),
                detail,
            })
        };
        if let Err(error) = check_url(
            &self.webhook_url,
            app.egress.allow_http,
            &app.egress.allow_cidrs,
        ) {
            wrong("/webhook_url", error.to_string());
        }
        if self
            .dead_letter_threshold
            .is_some_and(|number| !(1..=THRESHOLD_MAX).contains(&number))
        {
            wrong(
                "/dead_letter_threshold",
                format!("is from 1 to {THRESHOLD_MAX}"),
            );
        }
        let named = self
            .events
            .as_ref()
            .map(|events| events.iter().map(|text| text.parse()).collect());
        let named: Result<Vec<NoticeKind>, _> =
            named.unwrap_or_else(|| Ok(NoticeKind::ALL.to_vec()));
        let mut events = match named {
            Ok(events) if !events.is_empty() => events,
            Ok(_) => {
                wrong(
                    "/events",
                    "names at least one event; left out it is all of them".to_owned(),
                );
                Vec::new()
            }
            Err(error) => {
                wrong("/events", error.to_string());
                Vec::new()
            }
        };
        events.sort_unstable();
        events.dedup();
        if errors.is_empty() {
            Ok(events)
        } else {
            Err(Problem::fields(errors))
        }
    }
}

/// `PUT /api/operational-webhook`: makes it or replaces its settings; id and secret stay.
pub(super) async fn put(
    State(app): State<AppState>,
    Caller(client): Caller,
    Body(wanted): Body<Wanted>,
) -> Result<(StatusCode, Json<OperationsView>), Problem> {
    let events = wanted.check(&app)?;
    let phone = Phone::operational();
    let id = WebhookId(uuid::Uuid::now_v7());
    let secret = new_secret();
    let make = |present: Option<&Webhook>| {
        let mut webhook = present
            .cloned()
            .unwrap_or_else(|| fresh(&app, id, client, &phone, &secret));
        wanted
            .sending()
            .apply(&mut webhook.sending)
            .ok_or_else(too_many_headers)?;
        let told_at = webhook
            .operations
            .as_ref()
            .and_then(|operations| operations.dead_letters_notified_at);
        webhook.url.clone_from(&wanted.webhook_url);
        webhook.is_active = wanted.is_active.unwrap_or(true);
        webhook.disabled = webhook.disabled.filter(|_| !webhook.is_active);
        webhook.event_types.clear();
        webhook.operations = Some(NoticeSettings {
            events: events.clone(),
            dead_letter_threshold: wanted.dead_letter_threshold.unwrap_or(THRESHOLD_DEFAULT),
            dead_letters_notified_at: told_at,
        });
        webhook.updated_at = now();
        Ok::<_, Problem>(webhook)
    };
    let webhooks = app.bus.webhooks();
    let (webhook, created) = webhooks.try_register(client, &phone, make).await?;
    if !created && webhook.takes_deliveries() {
        app.bus.jobs().request_release(&webhook, now()).await?;
    }
    let status = if created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    Ok((status, Json(OperationsView::new(&webhook, created))))
}

/// `GET /api/operational-webhook`
pub(super) async fn get(
    State(app): State<AppState>,
    Caller(client): Caller,
) -> Result<Json<OperationsView>, Problem> {
    let webhook = app
        .bus
        .webhooks()
        .by_phone(client, &Phone::operational())
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok(Json(OperationsView::new(&webhook, false)))
}

/// `DELETE /api/operational-webhook`: what was held for it is dropped.
pub(super) async fn delete(
    State(app): State<AppState>,
    Caller(client): Caller,
) -> Result<StatusCode, Problem> {
    let phone = Phone::operational();
    let webhook = app
        .bus
        .webhooks()
        .by_phone(client, &phone)
        .await?
        .ok_or_else(Problem::not_found)?;
    app.bus
        .webhooks()
        .delete(client, webhook.id)
        .await?
        .ok_or_else(Problem::not_found)?;
    app.bus.purge_held(client, &phone).await?;
    Ok(StatusCode::NO_CONTENT)
}
