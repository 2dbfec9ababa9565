//! Who is behind a number or a LID, as one of the client's sessions knows it.

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AppState,
    extract::ContactPath,
    problem::{Code, Problem},
    query::Params,
    session_call::{self, Named, status_of},
};
use crate::model::{
    ClientId, FoundContact, Phone, SendOutcome, SessionAct, SessionId, SessionState, WhatsAppId,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Through {
    session_id: Option<String>,
}

/// `GET /api/contacts/{phone_number}`: whether the number has an account, and how WhatsApp writes
/// it.
pub(super) async fn by_number(
    State(app): State<AppState>,
    ContactPath(client, asked): ContactPath,
    Params(through): Params<Through>,
) -> Result<Json<Value>, Problem> {
    let phone: Phone = asked.parse().map_err(|_| Problem::not_found())?;
    let session = session(&app, client, &through).await?;
    let act = SessionAct::FindNumber(phone);
    let found = find(&app, client, session, act).await?;
    Ok(Json(json!({
        "phone_number": asked,
        "is_registered": found.is_some(),
        "account": found.as_ref().and_then(|found| found.phone_number.as_ref()),
        "lid": found.as_ref().and_then(|found| found.lid.as_ref()),
        "session_id": session,
    })))
}

/// `GET /api/contacts/lid/{lid}`: the number behind a LID, if WhatsApp has told it.
pub(super) async fn by_lid(
    State(app): State<AppState>,
    ContactPath(client, asked): ContactPath,
    Params(through): Params<Through>,
) -> Result<Json<Value>, Problem> {
    let whole = if asked.contains('@') {
        asked
    } else {
        format!("{asked}@lid")
    };
    let Ok(WhatsAppId::Lid(lid)) = whole.parse() else {
        return Err(Problem::not_found());
    };
    let session = session(&app, client, &through).await?;
    let act = SessionAct::FindLid(lid.to_string());
    let found = find(&app, client, session, act).await?;
    Ok(Json(json!({
        "lid": lid,
        "phone_number": found.and_then(|found| found.phone_number),
        "session_id": session,
    })))
}

/// The session that is named, else one that is connected.
async fn session(
    app: &AppState,
    client: ClientId,
    through: &Through,
) -> Result<SessionId, Problem> {
    if let Some(id) = &through.session_id {
        return Named::new(Some(id), None).find(app, client).await;
    }
    let sessions = app.bus.sessions();
    let mut any = None;
    for session in sessions.list(client).await? {
        let status = sessions.status(client, session.id).await?;
        if status.is_some_and(|status| status.state == SessionState::Connected) {
            return Ok(session.id);
        }
        any = Some(session.id);
    }
    any.ok_or_else(Problem::not_found)
}

/// `None`: WhatsApp knows no such account.
async fn find(
    app: &AppState,
    client: ClientId,
    session: SessionId,
    act: SessionAct,
) -> Result<Option<FoundContact>, Problem> {
    match session_call::act(app, client, session, act).await? {
        Some(SendOutcome::Found(contact)) => Ok(Some(contact)),
        Some(SendOutcome::NotOnWhatsApp) => Ok(None),
        None | Some(SendOutcome::LookupFailed) => Err(Problem::new(
            Code::LookupFailed,
            "WhatsApp did not answer; try again later",
        )),
        // A node of an earlier version answers nothing else to this.
        other => Err(status_of(other).err().unwrap_or_else(Problem::not_found)),
    }
}
