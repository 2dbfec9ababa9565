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

/// Registers or changes a webhook; `true` when it is a new one. New ones of a client are made one
/// after the other, so that requests at the same time pass no limit.
pub(super) async fn register(
    app: &AppState,
    client: ClientId,
    phone: &Phone,
    mut make: impl FnMut(Option<&Webhook>) -> Result<Webhook, Problem>,
) -> Result<(Arc<Webhook>, bool), Problem> {
    let webhooks = app.bus.webhooks();
    if webhooks.by_phone(client, phone).await?.is_some() {
        let change = |present: Option<&Webhook>| {
            let present = present.ok_or_else(deleted_meanwhile)?;
            make(Some(present))
        };
        return webhooks.try_register(client, phone, change).await;
    }
    let lock = app.locks.lock(&app.bus, client, "webhooks").await?;
    let registered = async {
        ensure_room(app, client).await?;
        webhooks.try_register(client, phone, make).await
    }
    .await;
    lock.release().await;
    registered
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
