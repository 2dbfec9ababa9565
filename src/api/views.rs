//! What callers see.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use super::{delivery_options::DeliveryOptionsView, pages::Bodies};
use crate::{
    model::{
        Attempt, ClientId, DeliveryOrder, DisabledReason, Event, EventType, Outcome, Webhook,
        WebhookId, WebhookState, WebhookStatus,
    },
    wire::summarize_body,
};

/// A webhook. What the store knows is null while it does not answer.
#[derive(Serialize)]
pub(super) struct WebhookView {
    id: WebhookId,
    client_id: ClientId,
    /// Null for the operational webhook.
    phone_number: Option<String>,
    webhook_url: String,
    is_active: bool,
    status: WebhookStatus,
    disabled_reason: Option<DisabledReason>,
    failure_count: Option<u32>,
    held_count: Option<u64>,
    max_retries: u16,
    rate_per_second: u32,
    burst: u32,
    in_flight: u32,
    retry_schedule: Vec<u32>,
    ordering: DeliveryOrder,
    failing_since: Option<String>,
    event_types: Vec<EventType>,
    #[serde(flatten)]
    sending: DeliveryOptionsView,
    signing_secret_hint: Option<String>,
    /// Shown only when it was just made.
    #[serde(skip_serializing_if = "Option::is_none")]
    signing_secret: Option<String>,
    last_error: Option<String>,
    last_success_at: Option<String>,
    last_attempt_at: Option<String>,
    metadata: Box<RawValue>,
    created_at: String,
    updated_at: String,
}

impl WebhookView {
    /// `state` is `None` when the store did not answer, `held` when the bus did not.
    pub(super) fn new(
        webhook: &Webhook,
        state: Option<WebhookState>,
        held: Option<&HashMap<String, u64>>,
    ) -> Self {
        let known = state.is_some();
        let state = state.unwrap_or_default();
        Self {
            id: webhook.id,
            client_id: webhook.client_id,
            phone_number: webhook
                .operations
                .is_none()
                .then(|| webhook.phone.as_str().to_owned()),
            webhook_url: webhook.url.clone(),
            is_active: webhook.is_active,
            status: if state.failed {
                webhook.status_after_dead_letter()
            } else {
                webhook.status()
            },
            disabled_reason: webhook.disabled,
            failure_count: known.then_some(state.failure_count),
            held_count: held.map(|held| {
                held.get(webhook.phone.as_str())
                    .copied()
                    .unwrap_or_default()
            }),
            max_retries: webhook.retries_max(),
            rate_per_second: webhook.rate_per_second,
            burst: webhook.burst(),
            in_flight: webhook.in_flight,
            retry_schedule: webhook.retry_schedule.clone(),
            ordering: webhook.ordering,
            failing_since: webhook.failing_since.map(|at| at.to_string()),
            event_types: webhook.event_types.clone(),
            sending: DeliveryOptionsView::from(&webhook.sending),
            signing_secret_hint: webhook.secrets.first().map(|secret| secret.hint()),
            signing_secret: None,
            last_error: state.last_error,
            last_success_at: state.last_success_at.map(|at| at.to_string()),
            last_attempt_at: state.last_attempt_at.map(|at| at.to_string()),
            metadata: metadata(webhook),
            created_at: webhook.created_at.to_string(),
            updated_at: webhook.updated_at.to_string(),
        }
    }

    /// The same with the current secret in clear.
    pub(super) fn with_secret(mut self, webhook: &Webhook) -> Self {
        self.signing_secret = webhook
            .secrets
            .first()
            .map(|secret| secret.expose().to_owned());
        self
    }
}

/// As its owner wrote it.
fn metadata(webhook: &Webhook) -> Box<RawValue> {
    let written = webhook.metadata_json.clone();
    let written = written.and_then(|json| RawValue::from_string(json).ok());
    written.unwrap_or_else(|| {
        to_raw_value(&webhook.metadata).expect("an object with texts as keys is JSON")
    })
}

/// One attempt of an event.
#[derive(Serialize)]
struct AttemptView {
    number: u16,
    status: &'static str,
    outcome: &'static str,
    http_status: Option<u16>,
    response: Option<String>,
    error: Option<String>,
    started_at: String,
    latency_ms: u32,
    next_retry_at: Option<String>,
}

impl From<&Attempt> for AttemptView {
    fn from(attempt: &Attempt) -> Self {
        Self {
            number: attempt.number,
            status: attempt.status.as_str(),
            outcome: attempt.outcome.as_str(),
            http_status: attempt.http_status,
            response: attempt.response.clone(),
            error: attempt.error.clone(),
            started_at: attempt.started_at.to_string(),
            latency_ms: attempt.latency_ms,
            next_retry_at: attempt.next_retry_at.map(|at| at.to_string()),
        }
    }
}

/// An event: in lists with its newest attempt's result alone, by itself with all attempts.
#[derive(Serialize)]
pub(super) struct EventView {
    id: String,
    webhook_id: WebhookId,
    /// What receivers get in the header `webhook-id`.
    webhook_id_header: String,
    message_id: String,
    from: Option<String>,
    to: Option<String>,
    message_type: &'static str,
    /// Left out of lists that do not ask for it, like `payload`.
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Option<String>>,
    /// The exact bytes of the body, so that numbers and the order of keys stay as they were sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Option<Box<RawValue>>>,
    status: &'static str,
    attempt_count: usize,
    http_status: Option<u16>,
    response: Option<String>,
    error: Option<String>,
    next_retry_at: Option<String>,
    created_at: String,
    delivered_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<Vec<AttemptView>>,
}

impl EventView {
    /// For a list: only the newest attempt is known, and its number tells how many there were.
    pub(super) fn listed(event: &Event, bodies: Bodies) -> Self {
        let is_shown = bodies == Bodies::Shown;
        let last = event.last();
        let delivery = &last.delivery;
        let summary = summarize_body(&delivery.body);
        Self {
            id: delivery.public_id().to_string(),
            webhook_id: delivery.webhook_id,
            webhook_id_header: delivery.event_id.header().to_string(),
            message_id: delivery.message_id.as_str().to_owned(),
            from: summary.as_ref().map(|summary| summary.from.clone()),
            to: summary.as_ref().map(|summary| summary.to.clone()),
            message_type: delivery.kind.as_str(),
            content: is_shown.then(|| summary.map(|summary| summary.content)),
            payload: is_shown.then(|| serde_json::from_slice(&delivery.body).ok()),
            status: last.status.as_str(),
            attempt_count: last.number.into(),
            http_status: last.http_status,
            response: last.response.clone(),
            error: last.error.clone().filter(|_| last.outcome != Outcome::Ok),
            next_retry_at: last.next_retry_at.map(|at| at.to_string()),
            created_at: delivery.created_at.to_string(),
            delivered_at: event.delivered_at().map(|at| at.to_string()),
            attempts: None,
        }
    }

    /// By itself.
    pub(super) fn whole(event: &Event) -> Self {
        let attempts = event.attempts.iter().map(AttemptView::from).collect();
        Self {
            attempts: Some(attempts),
            ..Self::listed(event, Bodies::Shown)
        }
    }
}

/// An event that was given up.
#[derive(Serialize)]
pub(super) struct DeadLetterView {
    #[serde(flatten)]
    event: EventView,
    reason: String,
    given_up_at: String,
}

impl DeadLetterView {
    /// For a list.
    pub(super) fn listed(event: &Event, bodies: Bodies) -> Self {
        Self::new(event, EventView::listed(event, bodies))
    }

    /// By itself.
    pub(super) fn whole(event: &Event) -> Self {
        Self::new(event, EventView::whole(event))
    }

    fn new(event: &Event, view: EventView) -> Self {
        let last = event.last();
        let reason = last
            .error
            .clone()
            .unwrap_or_else(|| last.outcome.as_str().to_owned());
        Self {
            event: view,
            reason,
            given_up_at: last.ended_at().to_string(),
        }
    }
}
