//! A client's operational webhook, which gets notices about the client's webhooks and sessions.

use axum::{Json, extract::State, http::StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    AppState,
    auth::Caller,
    body::Body,
    delivery_options::{DeliveryOptionsChange, DeliveryOptionsView, Headers},
    given::Given,
    problem::{FieldErrors, Problem},
    webhooks::new_webhook,
};
use crate::{
    model::{
        DisabledReason, NoticeKind, NoticeSettings, ParseError, Phone, Webhook, WebhookId,
        WebhookStatus,
    },
    policy::address::check_url,
    wire::new_signing_secret,
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
    #[serde(default)]
    signature: Given<String>,
    #[serde(default)]
    headers: Given<Headers>,
}

/// What callers see of it.
#[derive(Serialize)]
pub(super) struct NoticeWebhookView {
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

impl NoticeWebhookView {
    fn new(webhook: &Webhook) -> Self {
        let operations = webhook.operations.as_ref();
        let secret = webhook.secrets.first();
        Self {
            id: webhook.id,
            webhook_url: webhook.url.clone(),
            is_active: webhook.is_active,
            status: webhook.status(),
            disabled_reason: webhook.disabled,
            events: operations
                .map(|operations| operations.events.clone())
                .unwrap_or_default(),
            dead_letter_threshold: operations.map_or(THRESHOLD_DEFAULT, |operations| {
                operations.dead_letter_threshold
            }),
            sending: DeliveryOptionsView::from(&webhook.sending),
            signing_secret_hint: secret.map(|secret| secret.hint()),
            signing_secret: None,
            created_at: webhook.created_at.to_string(),
            updated_at: webhook.updated_at.to_string(),
        }
    }

    /// The same with the current secret in clear.
    fn with_secret(mut self, webhook: &Webhook) -> Self {
        let secret = webhook.secrets.first();
        self.signing_secret = secret.map(|secret| secret.expose().to_owned());
        self
    }
}

impl Wanted {
    fn delivery_options(&self) -> DeliveryOptionsChange<'_> {
        DeliveryOptionsChange {
            format: &Given::Absent,
            format_options: &Given::Absent,
            signature: &self.signature,
            headers: &self.headers,
        }
    }

    /// Checks all fields. Returns the events asked for. The URL becomes what is sent.
    fn check(&mut self, app: &AppState) -> Result<Vec<NoticeKind>, Problem> {
        let mut errors = FieldErrors::default();
        self.delivery_options().check(&mut errors);
        let url = &self.webhook_url;
        let checked = check_url(url, app.egress.allow_http, &app.egress.allow_cidrs);
        if let Some(sent) = errors.take("/webhook_url", checked) {
            self.webhook_url = sent.into();
        }
        let threshold = self.dead_letter_threshold.unwrap_or(THRESHOLD_DEFAULT);
        errors.check(
            (1..=THRESHOLD_MAX).contains(&threshold),
            "/dead_letter_threshold",
            || format!("is from 1 to {THRESHOLD_MAX}"),
        );
        let mut events = self.events(&mut errors).unwrap_or_default();
        events.sort_unstable();
        events.dedup();
        errors.unless_any(events)
    }

    fn events(&self, errors: &mut FieldErrors) -> Option<Vec<NoticeKind>> {
        let Some(named) = &self.events else {
            return Some(NoticeKind::ALL.to_vec());
        };
        errors.check(!named.is_empty(), "/events", || {
            "names at least one event; left out it is all of them".to_owned()
        });
        let parsed: Result<_, _> = named.iter().map(|text| text.parse()).collect();
        errors.take::<_, ParseError>("/events", parsed)
    }
}

/// `PUT /api/operational-webhook`: makes it or replaces its settings; id and secret stay.
pub(super) async fn put(
    State(app): State<AppState>,
    Caller(client): Caller,
    Body(mut wanted): Body<Wanted>,
) -> Result<(StatusCode, Json<NoticeWebhookView>), Problem> {
    let events = wanted.check(&app)?;
    let phone = Phone::operational();
    let id = WebhookId(uuid::Uuid::now_v7());
    let secret = new_signing_secret();
    let make = |present: Option<&Webhook>| {
        let mut webhook = present
            .cloned()
            .unwrap_or_else(|| new_webhook(&app, id, client, &phone, &secret));
        wanted.delivery_options().apply(&mut webhook.sending)?;
        let notified_at = webhook
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
            dead_letters_notified_at: notified_at,
        });
        webhook.updated_at = app.bus.now();
        Ok::<_, Problem>(webhook)
    };
    let webhooks = app.bus.webhooks();
    let (webhook, created) = webhooks.try_register(client, &phone, make).await?;
    if !created {
        app.bus.wait_until_webhooks_are_current().await;
    }
    if !created && webhook.takes_deliveries() {
        app.bus
            .jobs()
            .request_release(&webhook, app.bus.now())
            .await?;
    }
    let view = NoticeWebhookView::new(&webhook);
    if created {
        return Ok((StatusCode::CREATED, Json(view.with_secret(&webhook))));
    }
    Ok((StatusCode::OK, Json(view)))
}

/// `GET /api/operational-webhook`
pub(super) async fn get(
    State(app): State<AppState>,
    Caller(client): Caller,
) -> Result<Json<NoticeWebhookView>, Problem> {
    let webhook = app
        .bus
        .webhooks()
        .by_phone(client, &Phone::operational())
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok(Json(NoticeWebhookView::new(&webhook)))
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
    app.bus.wait_until_webhooks_are_current().await;
    app.bus.purge_held(client, &phone).await?;
    Ok(StatusCode::NO_CONTENT)
}
