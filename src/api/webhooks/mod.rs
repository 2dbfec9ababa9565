//! Registering, showing, changing and deleting webhooks.

mod limit;
pub(super) mod list;
mod settings;
mod test_message;

use std::time::Instant;

use axum::{Json, extract::State, http::StatusCode};
use serde_json::json;
use uuid::Uuid;

use self::settings::Settings;
pub(super) use self::test_message::test;
use super::{
    AppState, auth::Caller, body::Body, extract::WebhookPath, problem::Problem, views::WebhookView,
};
use crate::{
    model::{ClientId, NoticeKind, Phone, SigningSecret, Webhook, WebhookId},
    wire::{new_signing_key, new_signing_secret},
};

type Answer<T> = Result<(StatusCode, Json<T>), Problem>;

/// Notifies the client's operational webhook that a webhook which wahook had disabled is active.
async fn notify_enabled(app: &AppState, webhook: &Webhook, was_disabled: bool) {
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
        tracing::warn!(%error, webhook.id = %webhook.id, "a notice is lost");
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
    Body(mut settings): Body<Settings>,
) -> Answer<WebhookView> {
    const USED_UP: &str =
        "the limit of registrations per minute is used up; see the retry-after header";
    app.registrations
        .check(client, Instant::now())
        .map_err(|wait| Problem::too_many(wait, USED_UP))?;
    let phone = settings.check_registration(&app, client)?;
    // Registering again makes a stopped webhook active, unless the caller says otherwise.
    settings.is_active.get_or_insert(true);

    let id = WebhookId(Uuid::now_v7());
    let secret = new_signing_secret();
    let mut was_disabled = false;
    let make = |present: Option<&Webhook>| {
        was_disabled = present.is_some_and(|webhook| webhook.disabled.is_some());
        let mut webhook = present
            .cloned()
            .unwrap_or_else(|| new_webhook(&app, id, client, &phone, &secret));
        let default = default_webhook(&app, id, client, &phone);
        settings.apply(&mut webhook, &default, app.bus.now())?;
        Ok::<_, Problem>(webhook)
    };
    let (webhook, created) = limit::register(&app, client, &phone, make).await?;
    if !created {
        app.bus.wait_until_webhooks_are_current().await;
    }
    if !created && webhook.takes_deliveries() {
        app.bus
            .jobs()
            .request_release(&webhook, app.bus.now())
            .await?;
    }
    notify_enabled(&app, &webhook, was_disabled).await;
    let view = view(&app, &webhook).await;
    if created {
        tracing::info!(webhook.id = %webhook.id, "webhook registered");
        return Ok((StatusCode::CREATED, Json(view.with_secret(&webhook))));
    }
    Ok((StatusCode::OK, Json(view)))
}

/// A new webhook with the defaults of the settings. It has no URL yet.
pub(super) fn new_webhook(
    app: &AppState,
    id: WebhookId,
    client_id: ClientId,
    phone: &Phone,
    secret: &SigningSecret,
) -> Webhook {
    Webhook {
        secrets: vec![secret.clone()],
        ..default_webhook(app, id, client_id, phone)
    }
}

/// One with the defaults of the settings and no secret.
fn default_webhook(app: &AppState, id: WebhookId, client_id: ClientId, phone: &Phone) -> Webhook {
    Webhook {
        max_retries: app.deliver.max_retries,
        rate_per_second: app.deliver.rate_per_second,
        in_flight: app.deliver.in_flight,
        ..Webhook::new(id, client_id, phone.clone(), String::new(), app.bus.now())
    }
}

/// `GET /api/webhooks/{webhook_id}`
pub(super) async fn get(
    State(app): State<AppState>,
    WebhookPath(client, id): WebhookPath,
) -> Answer<WebhookView> {
    let webhook = app.webhook(client, id).await?;
    Ok((StatusCode::OK, Json(view(&app, &webhook).await)))
}

/// `PATCH /api/webhooks/{webhook_id}`: making it active releases what is held.
pub(super) async fn patch(
    State(app): State<AppState>,
    WebhookPath(client, id): WebhookPath,
    Body(mut settings): Body<Settings>,
) -> Answer<WebhookView> {
    settings.check_change(&app)?;
    let mut was_disabled = false;
    let apply = |webhook: &mut Webhook| {
        was_disabled = webhook.disabled.is_some();
        let default = default_webhook(&app, id, client, &webhook.phone);
        settings.apply(webhook, &default, app.bus.now())
    };
    let changed = app.bus.webhooks().try_update(client, id, apply).await?;
    let webhook = changed.ok_or_else(Problem::not_found)?;
    app.bus.wait_until_webhooks_are_current().await;
    if settings.is_active == Some(true) {
        app.bus
            .jobs()
            .request_release(&webhook, app.bus.now())
            .await?;
    }
    notify_enabled(&app, &webhook, was_disabled).await;
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
    // Before the purge, or a node may still put something there.
    app.bus.wait_until_webhooks_are_current().await;
    app.bus.purge_held(client, &webhook.phone).await?;
    app.bus.purge_chat_queues(client, &webhook.phone).await?;
    tracing::info!(webhook.id = %id, "webhook deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// `POST /api/webhooks/{webhook_id}/rotate-secret`: makes a new secret or key. The old one signs
/// beside it for `api.secret_overlap`.
pub(super) async fn rotate_secret(
    State(app): State<AppState>,
    WebhookPath(client, id): WebhookPath,
) -> Answer<WebhookView> {
    let secret = new_signing_secret();
    let key = new_signing_key();
    let at = app.bus.now();
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
    app.bus.wait_until_webhooks_are_current().await;
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
