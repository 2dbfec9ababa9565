//! How many webhooks a client may have.

use std::sync::Arc;

use super::super::{
    AppState,
    problem::{Code, Problem},
};
use crate::{
    model::{ClientId, Limit, Phone, Webhook},
    telemetry,
};

/// Registers or changes a webhook; `true` when it is a new one. A number whose other form has a
/// webhook gets that one changed. New ones of a client are made one after the other, so that
/// requests at the same time pass no limit, and make no second webhook of one account.
pub(super) async fn register(
    app: &AppState,
    client: ClientId,
    phone: &Phone,
    mut make: impl FnMut(Option<&Webhook>) -> Result<Webhook, Problem>,
) -> Result<(Arc<Webhook>, bool), Problem> {
    let webhooks = app.bus.webhooks();
    if let Some(known) = webhooks.by_account(client, phone).await? {
        return change(app, &known, &mut make).await;
    }
    let lock = app.locks.lock(&app.bus, client, "webhooks").await?;
    let registered = async {
        if let Some(known) = webhooks.by_account(client, phone).await? {
            return change(app, &known, &mut make).await;
        }
        ensure_room(app, client).await?;
        webhooks.try_register(client, phone, &mut make).await
    }
    .await;
    lock.release().await;
    registered
}

async fn change(
    app: &AppState,
    known: &Webhook,
    make: &mut impl FnMut(Option<&Webhook>) -> Result<Webhook, Problem>,
) -> Result<(Arc<Webhook>, bool), Problem> {
    let webhooks = app.bus.webhooks();
    let make = |present: Option<&Webhook>| make(Some(present.ok_or_else(deleted_meanwhile)?));
    webhooks
        .try_register(known.client_id, &known.phone, make)
        .await
}

async fn ensure_room(app: &AppState, client: ClientId) -> Result<(), Problem> {
    let max = app.bus.limit(client, Limit::Webhooks);
    if app.bus.webhooks().count(client).await? < max {
        return Ok(());
    }
    telemetry::quota_refused("webhooks");
    Err(Problem::new(
        Code::Quota,
        format!(
            "the client has {max} webhooks, as many as quota.webhooks_max allows: delete one that \
             is not needed, or ask the operator for more"
        ),
    ))
}

fn deleted_meanwhile() -> Problem {
    Problem::new(
        Code::Unavailable,
        "the webhook was deleted at the same moment; register it again",
    )
}
