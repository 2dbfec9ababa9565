//! Sending a text or a file through a session.

use std::time::Duration;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AppState,
    auth::Caller,
    body::Body,
    idempotency::idempotency_key,
    problem::{Code, FieldErrors, Problem},
};
use crate::{
    bus::SendClaim,
    model::{
        ClientId, MessageId, OutboundMedia, OutboundMessage, Phone, Quoted, SendOutcome, SessionId,
    },
    policy::address::check_url,
    wire::dedupe_id,
};

/// How long a request waits until WhatsApp accepts the message; below `api.request_timeout`.
const ACCEPT_TIMEOUT: Duration = Duration::from_secs(9);
const TEXT_CHARS_MAX: usize = 4096;
const FILE_NAME_CHARS_MAX: usize = 255;

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
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reply {
    message_id: String,
    from: String,
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
    let reply_to = wanted.reply_to.map(|reply| Quoted {
        message_id: reply.message_id,
        from: reply.from,
    });
    let media = wanted.media.map(|media| OutboundMedia {
        url: media.url,
        file_name: media.file_name,
    });
    let outgoing = OutboundMessage {
        message_id: message_id.clone(),
        to: wanted.to,
        text: wanted.text,
        media,
        reply_to,
    };
    let outcome = app
        .bus
        .send(client, session, &outgoing, ACCEPT_TIMEOUT)
        .await?;
    claim.end(&app, outcome.as_ref()).await;
    let status = status_of(outcome)?;
    Ok((StatusCode::ACCEPTED, answer(status)))
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
        Some(SendOutcome::Refused) => Err(Problem::field(
            "/to",
            "WhatsApp takes no message to this number or group",
        )),
    }
}

fn check(app: &AppState, wanted: &mut Send) -> Result<(), Problem> {
    let mut errors = FieldErrors::default();
    let is_group = wanted.to.strip_suffix("@g.us").is_some_and(|id| {
        (5..=40).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    });
    let is_receiver = is_group || wanted.to.parse::<Phone>().is_ok();
    errors.check(is_receiver, "/to", || {
        "is a phone number of digits alone, or a group's id as webhooks show it, …@g.us".to_owned()
    });
    let chars = wanted.text.chars().count();
    let chars_min = usize::from(wanted.media.is_none());
    let is_text = (chars_min..=TEXT_CHARS_MAX).contains(&chars);
    errors.check(is_text, "/text", || {
        "has 1 to 4096 characters; none are needed beside media".to_owned()
    });
    if let Some(media) = &mut wanted.media {
        let checked = check_url(&media.url, app.egress.allow_http, &app.egress.allow_cidrs);
        if let Some(sent) = errors.take("/media/url", checked) {
            media.url = sent.into();
        }
        let is_name = |name: &String| (1..=FILE_NAME_CHARS_MAX).contains(&name.chars().count());
        let is_named = media.file_name.as_ref().is_none_or(is_name);
        errors.check(is_named, "/media/file_name", || {
            "has 1 to 255 characters".to_owned()
        });
    }
    if let Some(reply) = &wanted.reply_to {
        let is_id = reply.message_id.parse::<MessageId>().is_ok();
        errors.check(is_id, "/reply_to/message_id", || {
            "is the message_id of a webhook".to_owned()
        });
        let is_phone = reply.from.parse::<Phone>().is_ok();
        errors.check(is_phone, "/reply_to/from", || {
            "is the phone number of the author of the message".to_owned()
        });
    }
    let is_one = wanted.session_id.is_some() != wanted.phone_number.is_some();
    errors.check(is_one, "/session_id", || {
        "give either session_id or phone_number".to_owned()
    });
    errors.unless_any(())
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
    for session in sessions.list(client).await? {
        let status = sessions.status(client, session.id).await?;
        if status.is_some_and(|status| status.phone.as_ref() == Some(&phone)) {
            return Ok(session.id);
        }
    }
    Err(Problem::not_found())
}

/// A hash of everything that makes one message another.
fn content_hash(wanted: &Send) -> String {
    let media = wanted.media.as_ref();
    let reply = wanted.reply_to.as_ref();
    dedupe_id(&[
        &wanted.to,
        &wanted.text,
        media.map_or("", |media| &media.url),
        // A missing name and an empty one differ, but an empty one is refused.
        media
            .and_then(|media| media.file_name.as_deref())
            .unwrap_or_default(),
        reply.map_or("", |reply| &reply.message_id),
        reply.map_or("", |reply| &reply.from),
    ])
}

/// The message that a request's idempotency key names.
struct Claim {
    message_id: MessageId,
    is_sent: bool,
    /// The key's name in the bucket, and a hash of the message.
    key: Option<(String, String)>,
    /// When this request was the first to use it.
    revision: Option<u64>,
}

impl Claim {
    /// The same key and message give the same id: WhatsApp shows a message that is sent again under
    /// its id once.
    async fn make(
        app: &AppState,
        client: ClientId,
        session: SessionId,
        headers: &HeaderMap,
        wanted: &Send,
    ) -> Result<Self, Problem> {
        let id = |text: String| text.parse().map_err(|_| Problem::not_found());
        let Some(key) = idempotency_key(headers)? else {
            let message_id = id(format!("3EB0{:018X}", rand::random::<u128>() >> 56))?;
            return Ok(Self {
                message_id,
                is_sent: false,
                key: None,
                revision: None,
            });
        };
        let name = dedupe_id(&["send", &client.to_string(), &session.to_string(), key]);
        let content = content_hash(wanted);
        let (is_sent, revision) = match app.bus.claim_send(&name, &content).await? {
            SendClaim::New { revision } => (false, Some(revision)),
            SendClaim::Known {
                content_hash,
                is_sent,
            } if content_hash == content => (is_sent, None),
            SendClaim::Known { .. } => {
                let detail = "this key was used for another message within the last day";
                return Err(Problem::new(Code::KeyReused, detail));
            }
        };
        // The content is part of the id: a released key may name another message, which WhatsApp
        // must not take for the first.
        let message_id = id(format!(
            "3EB0{}",
            dedupe_id(&[&name, &content])[..18].to_uppercase()
        ))?;
        Ok(Self {
            message_id,
            is_sent,
            key: Some((name, content)),
            revision,
        })
    }

    /// Keeps the key of a message that was sent, or may have been. Releases it if nothing was sent.
    async fn end(&self, app: &AppState, outcome: Option<&SendOutcome>) {
        let Some((name, content)) = &self.key else {
            return;
        };
        let ended = match (outcome, self.revision) {
            (Some(SendOutcome::Sent), _) => app.bus.settle_send(name, content).await,
            (Some(_), Some(revision)) => app.bus.release_send(name, revision).await,
            _ => Ok(()),
        };
        if let Err(error) = ended {
            tracing::warn!(%error, "an idempotency key stays as it was");
        }
    }
}
