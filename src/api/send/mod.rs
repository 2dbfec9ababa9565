//! Sending a text or a file through a session.

mod check;
mod claim;

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;
use serde_json::{Value, json};

use self::{check::check, claim::Claim};
use super::{
    AppState,
    auth::Caller,
    body::Body,
    problem::{Code, Problem},
};
use crate::model::{
    ClientId, MessageId, OutboundMedia, OutboundMessage, Phone, Quoted, SendOutcome, SessionId,
};

/// How long a request waits until WhatsApp accepts the message; below `api.request_timeout`.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(9);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Send {
    session_id: Option<String>,
    phone_number: Option<String>,
    to: String,
    #[serde(default)]
    text: String,
    media: Option<Media>,
    reply_to: Option<Reply>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Media {
    url: String,
    file_name: Option<String>,
    voice: Option<bool>,
}

/// The message that is answered: `quoted` and `target` of a webhook fit as they are.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    message_id: String,
    from: Option<String>,
    #[serde(default)]
    from_me: bool,
    content: Option<String>,
    chat: Option<String>,
    #[serde(default)]
    is_status: bool,
    /// Of no use, but beside the others in a webhook.
    #[serde(rename = "type")]
    _kind: Option<String>,
}

/// `POST /api/messages/send`: answered once WhatsApp's client has handed the message over. Receipts
/// tell how it went on.
pub(super) async fn send(
    State(app): State<AppState>,
    Caller(client): Caller,
    headers: HeaderMap,
    Body(mut wanted): Body<Send>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    check(&app, &mut wanted)?;
    let session = session(&app, client, &wanted).await?;
    let claim = Claim::make(&app, client, session, &headers, &wanted).await?;
    let message_id = claim.message_id.clone();
    let answer = |status| {
        Json(json!({"message_id": message_id.as_str(), "session_id": session, "status": status}))
    };
    if claim.is_sent {
        // Sending again would bring no second message, but its receipts a second time.
        return Ok((StatusCode::ACCEPTED, answer("sent")));
    }
    let outgoing = outgoing(&message_id, wanted);
    let outcome = app
        .bus
        .send(client, session, &outgoing, ACCEPT_TIMEOUT)
        .await?;
    claim.end(&app, outcome.as_ref()).await;
    let status = status_of(outcome)?;
    Ok((StatusCode::ACCEPTED, answer(status)))
}

fn outgoing(message_id: &MessageId, wanted: Send) -> OutboundMessage {
    let reply_to = wanted.reply_to.map(|reply| Quoted {
        message_id: reply.message_id,
        from: reply.from.filter(|_| !reply.from_me),
        content: reply.content,
        chat: if reply.is_status {
            Some("status@broadcast".to_owned())
        } else {
            reply.chat
        },
    });
    let media = wanted.media.map(|media| OutboundMedia {
        url: media.url,
        file_name: media.file_name,
        voice: media.voice,
    });
    OutboundMessage {
        message_id: message_id.clone(),
        to: wanted.to,
        text: wanted.text,
        media,
        reply_to,
    }
}

/// What the caller is told; `None` stands for a session that did not answer in time.
fn status_of(outcome: Option<SendOutcome>) -> Result<&'static str, Problem> {
    match outcome {
        Some(SendOutcome::Sent) => Ok("sent"),
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
        Some(SendOutcome::Refused) => Err(Problem::field(
            "/to",
            "WhatsApp takes no message to this number or group",
        )),
    }
}

async fn session(app: &AppState, client: ClientId, wanted: &Send) -> Result<SessionId, Problem> {
    let sessions = app.bus.sessions();
    if let Some(text) = &wanted.session_id {
        let id: SessionId = text.parse().map_err(|_| Problem::not_found())?;
        return Ok(sessions
            .get(client, id)
            .await?
            .ok_or_else(Problem::not_found)?
            .id);
    }
    let number = wanted.phone_number.as_deref().unwrap_or_default();
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
