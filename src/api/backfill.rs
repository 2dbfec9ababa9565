//! Messages of the past that a session may have missed.

use axum::{Json, extract::State, http::StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AppState,
    body::Body,
    extract::SessionPath,
    problem::{FieldErrors, Problem},
    session_call::{self, status_of},
};
use crate::model::{Backfill, SendOutcome, SessionAct, Timestamp, WhatsAppId};

/// Chats of one request.
const CHATS_MAX: usize = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    since: String,
    until: Option<String>,
    #[serde(default)]
    chats: Vec<String>,
}

/// `POST /api/sessions/{session_id}/backfill`: answered once the phone is being asked.
pub(super) async fn start(
    State(app): State<AppState>,
    SessionPath(client, id): SessionPath,
    Body(wanted): Body<Wanted>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    let wanted = check(&wanted, app.bus.now())?;
    let until = wanted.until;
    let sessions = app.bus.sessions();
    let session = sessions.get(client, id).await?;
    let session = session.ok_or_else(Problem::not_found)?.id;
    let act = SessionAct::Backfill(wanted);
    let outcome = session_call::act(&app, client, session, act).await?;
    if let Some(SendOutcome::BackfillStarted {
        since,
        chats,
        unknown,
    }) = outcome
    {
        let answer = json!({
            "session_id": session, "status": "started",
            "since": since.to_string(), "until": until.to_string(),
            "chats": chats, "unknown_chats": unknown,
        });
        return Ok((StatusCode::ACCEPTED, Json(answer)));
    }
    let status = status_of(outcome)?;
    let answer = json!({"session_id": session, "status": status});
    Ok((StatusCode::ACCEPTED, Json(answer)))
}

fn check(wanted: &Wanted, now: Timestamp) -> Result<Backfill, Problem> {
    let mut errors = FieldErrors::default();
    let since = errors.take("/since", wanted.since.parse::<Timestamp>());
    let until = match &wanted.until {
        Some(until) => errors.take("/until", until.parse::<Timestamp>()),
        None => Some(now),
    };
    let is_span = since.zip(until).is_none_or(|(since, until)| since < until);
    errors.check(is_span, "/until", || "is after since".to_owned());
    let count = wanted.chats.len();
    errors.check(count <= CHATS_MAX, "/chats", || {
        format!("has at most {CHATS_MAX} chats")
    });
    let mut chats = Vec::new();
    for (number, chat) in wanted.chats.iter().take(CHATS_MAX).enumerate() {
        let id = errors.take(format!("/chats/{number}"), chat.parse::<WhatsAppId>());
        chats.extend(id.map(|id| id.to_string()));
    }
    let backfill = Backfill {
        since: since.unwrap_or(now),
        until: until.unwrap_or(now),
        chats,
    };
    errors.unless_any(backfill)
}
