//! The fields that registration and PATCH share: what is valid, and how they change a webhook.

use serde::Deserialize;
use serde_json::json;

use super::super::{
    AppState,
    delivery_options::{DeliveryOptionsChange, FormatOptionChanges, Headers},
    given::Given,
    object_json::ObjectJson,
    problem::FieldErrors,
};
use crate::{
    model::{
        ClientId, DeliveryOrder, EventType, Metadata, Phone, Timestamp, Webhook, parse_metadata,
        webhook_limits::{
            BURST_SECONDS_MAX, IN_FLIGHT_MAX, METADATA_BYTES_MAX, RATE_PER_SECOND_MAX, RETRIES_MAX,
            RETRY_WAIT_SECONDS_MAX, burst_max,
        },
    },
    policy::address::check_url,
};

/// Body of a registration or a change. Absent means unchanged, or the default of a new webhook;
/// null means the default.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::api) struct Settings {
    /// Only a registration has this and the next one.
    pub(super) phone_number: Option<String>,
    pub(super) client_id: Option<u64>,
    pub(super) webhook_url: Option<String>,
    pub(super) is_active: Option<bool>,
    max_retries: Given<u16>,
    rate_per_second: Given<u32>,
    burst: Given<u32>,
    in_flight: Given<u32>,
    retry_schedule: Given<Vec<u32>>,
    ordering: Given<DeliveryOrder>,
    event_types: Given<Vec<EventType>>,
    format: Given<String>,
    format_options: Given<FormatOptionChanges>,
    signature: Given<String>,
    headers: Given<Headers>,
    metadata: Given<ObjectJson>,
    /// `metadata`, once it is checked.
    #[serde(skip)]
    parsed_metadata: Option<Metadata>,
}

impl Settings {
    fn delivery_options(&self) -> DeliveryOptionsChange<'_> {
        DeliveryOptionsChange {
            format: &self.format,
            format_options: &self.format_options,
            signature: &self.signature,
            headers: &self.headers,
        }
    }

    /// Checks a registration. Returns its number.
    ///
    /// # Errors
    /// The problem that names all fields that are not valid.
    pub(super) fn check_registration(
        &mut self,
        app: &AppState,
        client: ClientId,
    ) -> Result<Phone, super::Problem> {
        let mut errors = self.errors(app);
        errors.check(self.webhook_url.is_some(), "/webhook_url", || {
            "is needed: the URL of your endpoint".to_owned()
        });
        let is_own = self.client_id.is_none_or(|id| id == client.get());
        errors.check(is_own, "/client_id", || {
            "is not the client of this token; leave it out".to_owned()
        });
        match errors.phone("/phone_number", self.phone_number.as_deref()) {
            Some(phone) => errors.unless_any(phone),
            None => Err(errors.into_problem()),
        }
    }

    /// Checks a change of a webhook that exists.
    ///
    /// # Errors
    /// The problem that names all fields that are not valid.
    pub(super) fn check_change(&mut self, app: &AppState) -> Result<(), super::Problem> {
        let mut errors = self.errors(app);
        for (pointer, is_absent) in [
            ("/phone_number", self.phone_number.is_none()),
            ("/client_id", self.client_id.is_none()),
        ] {
            errors.check(is_absent, pointer, || {
                "is set by registration and never changes; leave it out".to_owned()
            });
        }
        errors.unless_any(())
    }

    /// The URL becomes what is sent, so that this is what is shown.
    fn errors(&mut self, app: &AppState) -> FieldErrors {
        let mut errors = FieldErrors::default();
        if let Some(url) = &self.webhook_url {
            let checked = check_url(url, app.egress.allow_http, &app.egress.allow_cidrs);
            if let Some(sent) = errors.take("/webhook_url", checked) {
                self.webhook_url = Some(sent.into());
            }
        }
        self.check_pace(&mut errors);
        self.check_retries(&mut errors);
        let has_types = self
            .event_types
            .value()
            .is_none_or(|types| !types.is_empty());
        errors.check(has_types, "/event_types", || {
            "names at least one of message and receipt".to_owned()
        });
        self.check_metadata(&mut errors);
        self.delivery_options().check(&mut errors);
        errors
    }

    fn check_metadata(&mut self, errors: &mut FieldErrors) {
        let Some(json) = self.metadata.value() else {
            return;
        };
        let parsed = parse_metadata(json.get());
        self.parsed_metadata = errors.take("/metadata", parsed);
        let Some(metadata) = &self.parsed_metadata else {
            return;
        };
        let bytes = match &metadata.json {
            Some(json) => json.len(),
            None => json!(metadata.fields).to_string().len(),
        };
        errors.check(bytes <= METADATA_BYTES_MAX, "/metadata", || {
            format!("has at most {METADATA_BYTES_MAX} bytes as JSON")
        });
    }

    fn check_pace(&self, errors: &mut FieldErrors) {
        let is_rate = |rate: &u32| (1..=RATE_PER_SECOND_MAX).contains(rate);
        let rate = self.rate_per_second.value();
        errors.check(rate.is_none_or(is_rate), "/rate_per_second", || {
            format!("is from 1 to {RATE_PER_SECOND_MAX}")
        });
        let is_in_range = self
            .in_flight
            .value()
            .is_none_or(|number| (1..=IN_FLIGHT_MAX).contains(number));
        errors.check(is_in_range, "/in_flight", || {
            format!("is from 1 to {IN_FLIGHT_MAX}")
        });
        let Some(&burst) = self.burst.value() else {
            return;
        };
        if !is_rate(&burst) {
            let detail = format!(
                "is from 1 to {RATE_PER_SECOND_MAX}, and at most {BURST_SECONDS_MAX} times the rate"
            );
            errors.add("/burst", detail);
            return;
        }
        let most = rate.map_or(u32::MAX, |rate| burst_max(*rate));
        errors.check(burst <= most, "/burst", || {
            format!("is at most {BURST_SECONDS_MAX} times the rate, which makes {most}")
        });
    }

    fn check_retries(&self, errors: &mut FieldErrors) {
        let retries = self.max_retries.value();
        let is_in_range = retries.is_none_or(|number| *number <= RETRIES_MAX);
        errors.check(is_in_range, "/max_retries", || {
            format!("is from 0 to {RETRIES_MAX}")
        });
        let schedule = self.retry_schedule.value();
        let schedule = schedule.map(Vec::as_slice).unwrap_or_default();
        let is_short = schedule.len() <= usize::from(RETRIES_MAX);
        errors.check(is_short, "/retry_schedule", || {
            format!("has at most {RETRIES_MAX} waits")
        });
        let is_wait = |seconds: &u32| (1..=RETRY_WAIT_SECONDS_MAX).contains(seconds);
        errors.check(schedule.iter().all(is_wait), "/retry_schedule", || {
            format!("has waits from 1 to {RETRY_WAIT_SECONDS_MAX} seconds (7 days)")
        });
    }

    /// Puts what is set into a webhook, and what is null from the default one. Making it active
    /// ends a stop by wahook too.
    ///
    /// # Errors
    /// When the webhook would have too many headers; then nothing is changed.
    pub(super) fn apply(
        &self,
        webhook: &mut Webhook,
        default: &Webhook,
        now: Timestamp,
    ) -> Result<(), super::Problem> {
        self.delivery_options().apply(&mut webhook.sending)?;
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
        self.apply_pace(webhook, default);
        let schedule = &mut webhook.retry_schedule;
        self.retry_schedule.apply(schedule, &default.retry_schedule);
        let retries = &mut webhook.max_retries;
        self.max_retries.apply(retries, &default.max_retries);
        self.ordering
            .apply(&mut webhook.ordering, &default.ordering);
        let event_types = &mut webhook.event_types;
        self.event_types.apply(event_types, &default.event_types);
        event_types.sort_unstable();
        event_types.dedup();
        match (&self.metadata, &self.parsed_metadata) {
            (Given::Null, _) => {
                webhook.metadata.clone_from(&default.metadata);
                webhook.metadata_json.clone_from(&default.metadata_json);
            }
            (_, Some(metadata)) => {
                webhook.metadata.clone_from(&metadata.fields);
                webhook.metadata_json.clone_from(&metadata.json);
            }
            (_, None) => {}
        }
        webhook.updated_at = now;
        Ok(())
    }

    fn apply_pace(&self, webhook: &mut Webhook, default: &Webhook) {
        let rate = &mut webhook.rate_per_second;
        self.rate_per_second.apply(rate, &default.rate_per_second);
        self.in_flight
            .apply(&mut webhook.in_flight, &default.in_flight);
        match self.burst {
            Given::Absent => {}
            Given::Null => webhook.burst = default.burst,
            Given::Value(burst) => webhook.burst = Some(burst),
        }
        // A burst that was set for a faster rate goes down with it, and so does one that is set for
        // an older, slower rate.
        webhook.burst = webhook
            .burst
            .map(|burst| burst.min(burst_max(webhook.rate_per_second)));
    }
}
