//! Linking, showing, restarting and deleting WhatsApp sessions.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use super::{
    AppState,
    auth::Caller,
    body::Body,
    extract::SessionPath,
    problem::{Code, Problem},
    qr::Qr,
    query::Params,
};
use crate::model::{
    ClientId, Pairing, PairingMethod, Phone, Session, SessionId, SessionState, SessionStatus,
};

/// Sessions of one client.
const SESSIONS_MAX: usize = 1000;
/// How long a request waits for a code, or for the end of a session.
const WAIT_TIMEOUT: Duration = Duration::from_secs(8);
/// How often such a request looks.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    phone_number: Option<String>,
    method: Option<PairingMethod>,
    #[serde(default)]
    own_messages: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CodeWanted {
    phone_number: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct QrParams {
    format: Option<QrFormat>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum QrFormat {
    Png,
    Svg,
    Text,
    Raw,
}

/// A session. Codes that link it are shown by their own routes alone.
#[derive(Serialize)]
pub(super) struct SessionView {
    id: SessionId,
    client_id: ClientId,
    phone_number: Option<String>,
    method: PairingMethod,
    own_messages: bool,
    state: SessionState,
    reason: Option<String>,
    code_expires_at: Option<String>,
    last_message_at: Option<String>,
    created_at: String,
    updated_at: String,
}

impl SessionView {
    fn new(session: &Session, status: SessionStatus) -> Self {
        let phone = status.phone.as_ref().or(session.phone.as_ref());
        Self {
            id: session.id,
            client_id: session.client_id,
            phone_number: phone.map(|phone| phone.as_str().to_owned()),
            method: session.method,
            own_messages: session.own_messages,
            state: status.state,
            reason: if session.is_deleted {
                Some("being deleted".to_owned())
            } else {
                status.reason
            },
            code_expires_at: status.pairing.map(|pairing| pairing.expires_at.to_string()),
            last_message_at: status.last_message_at.map(|at| at.to_string()),
            created_at: session.created_at.to_string(),
            updated_at: status.updated_at.to_string(),
        }
    }
}

pub(super) async fn view(app: &AppState, session: &Session) -> Result<SessionView, Problem> {
    let status = app
        .bus
        .sessions()
        .status(session.client_id, session.id)
        .await?;
    Ok(SessionView::new(
        session,
        status.unwrap_or_else(|| SessionStatus::new(session.generation, session.created_at)),
    ))
}

async fn find(app: &AppState, client: ClientId, id: SessionId) -> Result<Session, Problem> {
    app.bus
        .sessions()
        .get(client, id)
        .await?
        .ok_or_else(Problem::not_found)
}

fn phone(text: Option<&str>) -> Result<Option<Phone>, Problem> {
    let phone: Option<Result<Phone, _>> = text.map(str::parse);
    phone
        .transpose()
        .map_err(|error| Problem::field("/phone_number", error.to_string()))
}

fn number_needed() -> Problem {
    Problem::field(
        "/phone_number",
        "is needed for a pair code: the number of the phone that it will be typed in on",
    )
}

/// `POST /api/sessions`: a node with the ingest role takes it up and asks WhatsApp for a code.
pub(super) async fn create(
    State(app): State<AppState>,
    Caller(client): Caller,
    Body(wanted): Body<Wanted>,
) -> Result<(StatusCode, Json<SessionView>), Problem> {
    let phone = phone(wanted.phone_number.as_deref())?;
    let method = wanted.method.unwrap_or(PairingMethod::Qr);
    if method == PairingMethod::Code && phone.is_none() {
        return Err(number_needed());
    }
    let session = Session {
        id: SessionId(Uuid::now_v7()),
        client_id: client,
        phone,
        method,
        own_messages: wanted.own_messages,
        generation: 0,
        is_deleted: false,
        created_at: app.bus.now(),
    };
    let lock = app.locks.lock(&app.bus, client, "sessions").await?;
    let created = create_in_room(&app, &session).await;
    lock.release().await;
    created?;
    tracing::info!(session.id = %session.id, "session requested");
    Ok((
        StatusCode::CREATED,
        Json(SessionView::new(
            &session,
            SessionStatus::new(0, session.created_at),
        )),
    ))
}

async fn create_in_room(app: &AppState, session: &Session) -> Result<(), Problem> {
    let sessions = app.bus.sessions();
    if sessions.list(session.client_id).await?.len() >= SESSIONS_MAX {
        return Err(Problem::new(
            Code::SessionLimit,
            format!("a client has at most {SESSIONS_MAX} sessions"),
        ));
    }
    Ok(sessions.create(session).await?)
}

/// `GET /api/sessions/{session_id}`.
pub(super) async fn get(
    State(app): State<AppState>,
    SessionPath(client, id): SessionPath,
) -> Result<Json<SessionView>, Problem> {
    let session = find(&app, client, id).await?;
    Ok(Json(view(&app, &session).await?))
}

/// `POST /api/sessions/{session_id}/restart`: connects again, or asks for a new code, also after
/// the session has stopped.
pub(super) async fn restart(
    State(app): State<AppState>,
    SessionPath(client, id): SessionPath,
) -> Result<(StatusCode, Json<SessionView>), Problem> {
    let begin = |session: &mut Session| session.generation += 1;
    let session = app
        .bus
        .sessions()
        .change(client, id, begin)
        .await?
        .ok_or_else(Problem::not_found)?;
    Ok((StatusCode::ACCEPTED, Json(view(&app, &session).await?)))
}

/// `DELETE /api/sessions/{session_id}`: unlinks it and erases the keys. 204 when that is done, 202
/// while a node does it.
pub(super) async fn delete(
    State(app): State<AppState>,
    SessionPath(client, id): SessionPath,
) -> Result<Response, Problem> {
    let mark = |session: &mut Session| session.is_deleted = true;
    app.bus
        .sessions()
        .change(client, id, mark)
        .await?
        .ok_or_else(Problem::not_found)?;
    let deadline = Instant::now() + WAIT_TIMEOUT;
    while Instant::now() < deadline {
        if app.bus.sessions().get(client, id).await?.is_none() {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        sleep(POLL_INTERVAL).await;
    }
    let detail = "WhatsApp has not been told yet, and the keys are not erased yet. A node with \
        the ingest role does both \
                  as soon as one runs, and erases the keys also when WhatsApp does not answer: \
                  unlink the device on \
                  the phone if it is still shown there then";
    Ok((
        StatusCode::ACCEPTED,
        Json(json!({"status": "deleting", "detail": detail})),
    )
        .into_response())
}

/// The code that links the session now.
async fn code(
    app: &AppState,
    session: &Session,
    method: PairingMethod,
) -> Result<Option<Pairing>, Problem> {
    let status = app
        .bus
        .sessions()
        .status(session.client_id, session.id)
        .await?;
    let status = status.filter(|status| status.generation == session.generation);
    if let Some(status) = &status
        && status.state != SessionState::Pairing
    {
        let state = status.state;
        return Err(Problem::new(
            Code::Unlinkable,
            format!("the session is {state}; restart it when it is to be linked again"),
        ));
    }
    let pairing = status.and_then(|status| status.pairing);
    Ok(pairing.filter(|pairing| pairing.method == method && pairing.expires_at > app.bus.now()))
}

async fn wait_for_code(
    app: &AppState,
    session: &Session,
    method: PairingMethod,
) -> Result<Pairing, Problem> {
    let deadline = Instant::now() + WAIT_TIMEOUT;
    loop {
        if let Some(pairing) = code(app, session, method).await? {
            return Ok(pairing);
        }
        if Instant::now() >= deadline {
            let detail = "there is no code yet; see the session's reason, and that a node with \
                the ingest role runs";
            return Err(Problem::new(Code::Unlinkable, detail));
        }
        sleep(POLL_INTERVAL).await;
    }
}

/// `GET /api/sessions/{session_id}/qr`: the QR code that links it now, as `format` png, svg, text
/// or raw.
pub(super) async fn qr(
    State(app): State<AppState>,
    SessionPath(client, id): SessionPath,
    Params(params): Params<QrParams>,
) -> Result<Response, Problem> {
    const TEXT: &str = "text/plain; charset=utf-8";
    let session = find(&app, client, id).await?;
    if session.method == PairingMethod::Code {
        return Err(Problem::new(
            Code::Unlinkable,
            "this session is linked by a pair code; see /pair-code",
        ));
    }
    let pairing = wait_for_code(&app, &session, PairingMethod::Qr).await?;
    let qr = Qr::new(&pairing.code)
        .ok_or_else(|| Problem::new(Code::Internal, "the code does not fit a QR code"))?;
    let (kind, body) = match params.format.unwrap_or(QrFormat::Png) {
        QrFormat::Raw => (TEXT, pairing.code.into_bytes()),
        QrFormat::Png => ("image/png", qr.png()),
        QrFormat::Svg => ("image/svg+xml", qr.svg().into_bytes()),
        QrFormat::Text => (TEXT, qr.text().into_bytes()),
    };
    // A code links the account, so no cache may keep it.
    Ok((
        [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "no-store"),
        ],
        body,
    )
        .into_response())
}

#[derive(Serialize)]
pub(super) struct CodeView {
    code: String,
    expires_at: String,
}

/// `POST /api/sessions/{session_id}/pair-code`: from now on the session is linked by a code to type
/// in; gives it.
pub(super) async fn pair_code(
    State(app): State<AppState>,
    SessionPath(client, id): SessionPath,
    Body(wanted): Body<CodeWanted>,
) -> Result<Json<CodeView>, Problem> {
    let given = phone(wanted.phone_number.as_deref())?;
    let known = find(&app, client, id).await?;
    let Some(number) = given.or_else(|| known.phone.clone()) else {
        return Err(number_needed());
    };
    let fits = known.method == PairingMethod::Code && known.phone.as_ref() == Some(&number);
    // A code that is still valid is given again: WhatsApp gives out few of them.
    let waiting = if fits {
        code(&app, &known, PairingMethod::Code).await?
    } else {
        None
    };
    let pairing = match waiting {
        Some(pairing) => pairing,
        None => {
            let is_new = known.generation == 0 && fits;
            let ask = |session: &mut Session| {
                session.method = PairingMethod::Code;
                session.phone = Some(number.clone());
                // A session that was just made is about to ask for its first.
                session.generation += u32::from(!is_new);
            };
            let changed = app.bus.sessions().change(client, id, ask).await?;
            let session = changed.ok_or_else(Problem::not_found)?;
            wait_for_code(&app, &session, PairingMethod::Code).await?
        }
    };
    Ok(Json(CodeView {
        code: pairing.code,
        expires_at: pairing.expires_at.to_string(),
    }))
}
