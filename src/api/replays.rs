//! Replays: jobs that send events again.

use std::{cmp::Reverse, sync::Arc};

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use tokio::time::Instant;
use uuid::Uuid;

use super::{
    AppState,
    auth::Caller,
    body::Body,
    events::parse,
    extract::{ReplayPath, WebhookPath},
    idempotency::idempotency_key,
    pages::{ListQuery, Page},
    problem::{Code, FieldErrors, Problem},
    query::Params,
};
use crate::{
    model::{
        ClientId, EventStatus, Job, JobFilter, JobId, JobState, JobWork, Kind, ParseError,
        Timestamp, WebhookId,
    },
    replay::{self, ACTIVE_MAX, EVENTS_MAX, KEPT_MAX, RATE_MAX, Scan},
    wire::dedupe_id,
};

/// What to send again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    webhook_id: Option<String>,
    status: Option<String>,
    r#type: Option<String>,
    since: Option<String>,
    until: Option<String>,
    rate_per_second: Option<u32>,
    #[serde(default)]
    dry_run: bool,
}

/// A replay as its owner sees it.
#[derive(Serialize)]
pub(super) struct ReplayView {
    id: JobId,
    state: JobState,
    webhook_id: Option<WebhookId>,
    status: &'static str,
    r#type: Option<Kind>,
    since: Option<String>,
    until: String,
    rate_per_second: u32,
    matched: Option<u64>,
    sent: u64,
    skipped: u64,
    error: Option<String>,
    created_at: String,
    started_at: Option<String>,
    ended_at: Option<String>,
}

impl ReplayView {
    /// `None` for a job that is no replay.
    fn new(job: &Job) -> Option<Self> {
        let JobWork::Replay {
            filter,
            rate_per_second,
            ..
        } = &job.work
        else {
            return None;
        };
        Some(Self {
            id: job.id,
            state: job.state,
            webhook_id: filter.webhook,
            status: filter.status.as_str(),
            r#type: filter.kind.clone(),
            since: filter.since.map(|at| at.to_string()),
            until: filter.until.to_string(),
            rate_per_second: *rate_per_second,
            matched: job.matched,
            sent: job.sent,
            skipped: job.skipped,
            error: job.error.clone(),
            created_at: job.created_at.to_string(),
            started_at: job.started_at.map(|at| at.to_string()),
            ended_at: job.ended_at.map(|at| at.to_string()),
        })
    }
}

type Answer = Result<(StatusCode, Json<Value>), Problem>;

fn shown(status: StatusCode, job: &Job) -> Answer {
    let view = ReplayView::new(job).ok_or_else(Problem::not_found)?;
    Ok((status, Json(json!(view))))
}

/// `POST /api/replays`: of all webhooks, or of one.
pub(super) async fn create(
    State(app): State<AppState>,
    Caller(client): Caller,
    headers: HeaderMap,
    Body(wanted): Body<Wanted>,
) -> Answer {
    let webhook = parse(wanted.webhook_id.as_ref(), "/webhook_id")?;
    ask(&app, client, webhook, &headers, wanted).await
}

/// `POST /api/webhooks/{webhook_id}/replay`
pub(super) async fn create_for(
    State(app): State<AppState>,
    WebhookPath(client, webhook): WebhookPath,
    headers: HeaderMap,
    Body(wanted): Body<Wanted>,
) -> Answer {
    if wanted.webhook_id.is_some() {
        return Err(Problem::field(
            "/webhook_id",
            "is in the path here; leave it out",
        ));
    }
    ask(&app, client, Some(webhook), &headers, wanted).await
}

async fn ask(
    app: &AppState,
    client: ClientId,
    webhook: Option<WebhookId>,
    headers: &HeaderMap,
    wanted: Wanted,
) -> Answer {
    let asked_at = app.bus.now();
    let (filter, rate_per_second) = check(app, webhook, &wanted, asked_at)?;
    let jobs = app.bus.jobs();
    if let Some(id) = webhook {
        let webhook = app.webhook(client, id).await?;
        if !wanted.dry_run && !webhook.takes_deliveries() {
            return Err(Problem::new(
                Code::Held,
                "make the webhook active first: a replay would be held as well",
            ));
        }
    }
    if wanted.dry_run {
        return dry_run(app, client, filter).await;
    }
    let key = idempotency_key(headers)?;
    let id = key.map_or_else(|| JobId(Uuid::now_v7()), |key| named(client, key));
    let until = wanted.until.is_some().then_some(filter.until);
    let work = JobWork::Replay {
        filter,
        rate_per_second,
        place: None,
    };
    let job = Job::new(id, client, work, asked_at);
    if key.is_some()
        && let Some(known) = jobs.get(client, id).await?
    {
        return same(&known, &job, until);
    }
    let lock = app.locks.lock(&app.bus, client, "replays").await?;
    let created = create_in_room(app, &job).await;
    lock.release().await;
    if created? {
        tracing::info!(job.id = %id, "replay asked for");
        return shown(StatusCode::ACCEPTED, &job);
    }
    // Another request used the key at the same time.
    let known = jobs.get(client, id).await?.ok_or_else(Problem::not_found)?;
    same(&known, &job, until)
}

/// The replay that the key made before. Another request under the same key is an error.
fn same(known: &Job, asked: &Job, until: Option<Timestamp>) -> Answer {
    let (
        JobWork::Replay {
            filter: before,
            rate_per_second: rate_before,
            ..
        },
        JobWork::Replay {
            filter,
            rate_per_second,
            ..
        },
    ) = (&known.work, &asked.work)
    else {
        return Err(Problem::not_found());
    };
    // Without one of its own, a replay ends at the time of its request.
    let filter = JobFilter {
        until: until.unwrap_or(before.until),
        ..filter.clone()
    };
    if *before != filter || rate_before != rate_per_second {
        return Err(Problem::new(
            Code::KeyReused,
            "this key was used for another replay",
        ));
    }
    shown(StatusCode::ACCEPTED, known)
}

/// The same key of the same client is the same job.
fn named(client: ClientId, key: &str) -> JobId {
    let digits = dedupe_id(&["replay", &client.to_string(), key]);
    let number = u128::from_str_radix(&digits, 16).expect("thirty-two hex digits");
    JobId(uuid::Builder::from_custom_bytes(number.to_be_bytes()).into_uuid())
}

fn check(
    app: &AppState,
    webhook: Option<WebhookId>,
    wanted: &Wanted,
    now: Timestamp,
) -> Result<(JobFilter, u32), Problem> {
    let mut errors = FieldErrors::default();
    let status = match wanted.status.as_deref() {
        None | Some("failed") => EventStatus::Failed,
        Some("delivered") => EventStatus::Delivered,
        Some("pending") => EventStatus::Pending,
        Some("sent") => EventStatus::Sent,
        Some(_) => {
            errors.add("/status", "is failed, delivered, pending or sent");
            EventStatus::Failed
        }
    };
    let kind = wanted.r#type.as_deref().map(str::parse).transpose();
    let kind = errors.take("/type", kind).flatten();
    let mut time = |text: &Option<String>, pointer| -> Option<Timestamp> {
        let parsed: Result<_, ParseError> = text.as_ref().map(|text| text.parse()).transpose();
        errors.take(pointer, parsed).flatten()
    };
    let since = time(&wanted.since, "/since");
    let until = time(&wanted.until, "/until");
    // What fails from now on is not what was meant.
    let until = until.unwrap_or(now).min(now);
    errors.check(since.is_none_or(|since| since < until), "/since", || {
        "is before until, and before now".to_owned()
    });
    let rate = wanted.rate_per_second.unwrap_or(app.replay.rate_per_second);
    errors.check((1..=RATE_MAX).contains(&rate), "/rate_per_second", || {
        format!("is from 1 to {RATE_MAX}")
    });
    let filter = JobFilter {
        webhook,
        status,
        kind,
        since,
        until,
    };
    errors.unless_any((filter, rate))
}

/// Counts, for as long as an answer may take.
async fn dry_run(app: &AppState, client: ClientId, filter: JobFilter) -> Answer {
    let deadline = Instant::now() + app.settings.request_timeout / 2;
    let scan = Scan::new(&app.bus, Arc::clone(&app.store), client, filter, None).await?;
    let count = replay::count(scan, EVENTS_MAX, Some(deadline)).await?;
    let answer =
        json!({"dry_run": true, "matched": count.matched, "is_complete": count.is_complete});
    Ok((StatusCode::OK, Json(answer)))
}

/// Creates a replay if there is room for it; `false` when there is one of this id.
async fn create_in_room(app: &AppState, job: &Job) -> Result<bool, Problem> {
    make_room(app, job.client_id).await?;
    Ok(app.bus.jobs().create(job).await?)
}

/// Refuses when too many are not over, and forgets the oldest that are when too many are kept.
async fn make_room(app: &AppState, client: ClientId) -> Result<(), Problem> {
    let jobs = app.bus.jobs().list(client).await?;
    if jobs.iter().filter(|job| job.state.is_active()).count() >= ACTIVE_MAX {
        let detail = format!(
            "a client has at most {ACTIVE_MAX} replays that are not over; cancel some, or wait"
        );
        return Err(Problem::new(Code::ReplayLimit, detail));
    }
    let ended = jobs.iter().rev().filter(|job| !job.state.is_active());
    for job in ended.take((jobs.len() + 1).saturating_sub(KEPT_MAX)) {
        app.bus.jobs().remove(client, job.id).await?;
    }
    Ok(())
}

/// The place of a job in the list: the time of its request, then its id.
fn place(job: &Job) -> u128 {
    let millis = u64::try_from(job.created_at.millis()).unwrap_or_default();
    let (_, id) = job.id.0.as_u64_pair();
    u128::from(millis) << 64 | u128::from(id)
}

/// `GET /api/replays`: those that are kept, the newest first.
pub(super) async fn list(
    State(app): State<AppState>,
    Caller(client): Caller,
    Params(query): Params<ListQuery>,
) -> Result<Json<Page<Box<RawValue>>>, Problem> {
    let wanted = query.check(&app.cursor_key, format!("replays {client}"))?;
    // A client has few: see `make_room`.
    let mut jobs = app.bus.jobs().list(client).await?;
    jobs.sort_by_key(|job| Reverse(place(job)));
    let views = jobs
        .iter()
        .filter(|job| wanted.after.is_none_or(|after| place(job) < after))
        .filter_map(|job| Some((place(job), ReplayView::new(job)?)));
    Ok(Json(wanted.page(views)))
}

/// `GET /api/replays/{replay_id}`
pub(super) async fn get(State(app): State<AppState>, ReplayPath(client, id): ReplayPath) -> Answer {
    let job = app
        .bus
        .jobs()
        .get(client, id)
        .await?
        .ok_or_else(Problem::not_found)?;
    shown(StatusCode::OK, &job)
}

/// `POST /api/replays/{replay_id}/cancel`: events that are already sent go on. A replay that is
/// over stays as it is.
pub(super) async fn cancel(
    State(app): State<AppState>,
    ReplayPath(client, id): ReplayPath,
) -> Answer {
    let jobs = app.bus.jobs();
    let job = jobs.get(client, id).await?.ok_or_else(Problem::not_found)?;
    let ended_at = app.bus.now();
    let changed = jobs.change(&job, |job| {
        job.cancel_requested |= job.state.is_active();
        if job.state == JobState::Queued {
            job.end(JobState::Cancelled, ended_at);
        }
    });
    shown(
        StatusCode::OK,
        &changed.await?.ok_or_else(Problem::not_found)?,
    )
}
