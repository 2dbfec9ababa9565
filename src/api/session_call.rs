//! Asking a session for something: which one, and what its answer means to the caller.

use std::time::Duration;

use super::{
    AppState,
    problem::{Code, FieldErrors, Problem},
};
use crate::model::{ClientId, Phone, SendOutcome, SessionAct, SessionId, SessionRequest};

/// How long a request waits until WhatsApp accepts what is asked; below `api.request_timeout`.
pub(super) const ACCEPT_TIMEOUT: Duration = Duration::from_secs(9);

/// How a request names the session.
pub(super) struct Named<'a> {
    session_id: Option<&'a str>,
    phone_number: Option<&'a str>,
}

impl<'a> Named<'a> {
    pub(super) fn new(session_id: Option<&'a str>, phone_number: Option<&'a str>) -> Self {
        Self {
            session_id,
            phone_number,
        }
    }

    /// Exactly one of the two is needed.
    pub(super) fn check(&self, errors: &mut FieldErrors) {
        let is_one = self.session_id.is_some() != self.phone_number.is_some();
        errors.check(is_one, "/session_id", || {
            "give either session_id or phone_number".to_owned()
        });
    }

    /// The session.
    ///
    /// # Errors
    /// The problem to answer with, if the client has none such.
    pub(super) async fn find(
        &self,
        app: &AppState,
        client: ClientId,
    ) -> Result<SessionId, Problem> {
        match self.session_id {
            Some(id) => by_id(app, client, id).await,
            None => by_number(app, client, self.phone_number.unwrap_or_default()).await,
        }
    }
}

async fn by_id(app: &AppState, client: ClientId, text: &str) -> Result<SessionId, Problem> {
    let id: SessionId = text.parse().map_err(|_| Problem::not_found())?;
    let session = app.bus.sessions().get(client, id).await?;
    Ok(session.ok_or_else(Problem::not_found)?.id)
}

async fn by_number(app: &AppState, client: ClientId, number: &str) -> Result<SessionId, Problem> {
    let sessions = app.bus.sessions();
    let phone: Phone = number.parse().map_err(|error: crate::model::ParseError| {
        Problem::field("/phone_number", error.to_string())
    })?;
    let mut found = None;
    for session in sessions.list(client).await? {
        let status = sessions.status(client, session.id).await?;
        match status.and_then(|status| status.phone) {
            Some(linked) if linked == phone => return Ok(session.id),
            Some(linked) if linked.is_same_account(&phone) => found = found.or(Some(session.id)),
            _ => {}
        }
    }
    found.ok_or_else(Problem::not_found)
}

/// Has a session do something that is no message; `None` when it did not answer in time.
pub(super) async fn act(
    app: &AppState,
    client: ClientId,
    session: SessionId,
    act: SessionAct,
) -> Result<Option<SendOutcome>, Problem> {
    let asked = SessionRequest::Act { act };
    let asking = app.bus.ask_session(client, session, &asked, ACCEPT_TIMEOUT);
    Ok(asking.await?)
}

/// What the caller is told; `None` stands for a session that did not answer in time.
pub(super) fn status_of(outcome: Option<SendOutcome>) -> Result<&'static str, Problem> {
    match outcome {
        Some(
            SendOutcome::Sent
            | SendOutcome::Found(_)
            | SendOutcome::MediaRenewed { .. }
            | SendOutcome::BackfillStarted { .. },
        ) => Ok("sent"),
        None => Ok("unknown"),
        Some(SendOutcome::NotConnected) => Err(Problem::new(
            Code::NotConnected,
            "the session is not connected now; see its state",
        )),
        Some(SendOutcome::TooFast {
            retry_after_seconds,
        }) => Err(Problem::too_many(
            Duration::from_secs(retry_after_seconds),
            "the session sends no more than whatsapp.sends_per_minute; see the retry-after header",
        )),
        Some(SendOutcome::MediaFailed { reason }) => Err(Problem::field("/media/url", reason)),
        Some(SendOutcome::InvalidField { pointer, reason }) => Err(Problem::field(pointer, reason)),
        Some(SendOutcome::NotOnWhatsApp) => Err(Problem::new(
            Code::NotOnWhatsApp,
            "the number of \"to\" has no WhatsApp account; nothing was sent",
        )),
        Some(SendOutcome::LookupFailed) => Err(Problem::new(
            Code::LookupFailed,
            "WhatsApp did not say whether \"to\" has an account; nothing was sent, try again later",
        )),
        // Only a request for a file is answered so.
        Some(SendOutcome::MediaGone) => Err(Problem::new(
            Code::MediaGone,
            "the phone does not have the file any more",
        )),
        Some(SendOutcome::Refused) => Err(Problem::field(
            "/to",
            "WhatsApp takes no message to this number or group",
        )),
    }
}
