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
    extract::Body,
    problem::{Code, FieldError, Problem},
};
use crate::{
    bus::SendClaim,
    model::{
        ClientId, MessageId, OutboundMedia, OutboundMessage, Phone, Quoted, SendOutcome, SessionId,
    },
    policy::address::check_url,
    wire::dedupe_id,
};

/// How long WhatsApp's acceptance is waited for; below `api.request_timeout`.
const PATIENCE: Duration = Duration::from_secs(9);
const TEXT_CHARS_MAX: usize = 4096;
const KEY_CHARS_MAX: usize = 128;
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

/// `POST /api/messages/send`: answered once WhatsApp's client has handed it over; receipts tell
/// what became of it.
pub(super) async fn send(
    State(app): State<AppState>,
    Caller(client): Caller,
    headers: HeaderMap,
    Body(wanted): Body<Send>,
) -> Result<(StatusCode, Json<Value>), Problem> {
    check(&app, &wanted)?;
    let session = session(&app, client, &wanted).await?;
    let claim = Claim::make(&app, client, session, &headers, &wanted).await?;
    let message_id = claim.message_id.clone();
    let answer = |status| {
        Json(json!({"message_id": message_id.as_str(), "session_id": session, "status": status}))
    };
    if claim.is_sent {
        // Sent again it would bring no second message, but its receipts a second time.
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
    let outcome = app.bus.send(client, session, &outgoing, PATIENCE).await?;
    claim.end(&app, outcome.as_ref()).await;
    match outcome {
        Some(SendOutcome::Sent) => Ok((StatusCode::ACCEPTED, answer("sent"))),
        Some(SendOutcome::NotConnected) => Err(Problem::new(
            Code::NotConnected,
            "the session is not connected now; see its state",
        )),
        Some(SendOutcome::TooFast {
            retry_after_seconds,
        }) => {
            let detail = "the session sends no more than whatsapp.sends_per_minute; see the \
                retry-after header";
            Err(Problem::too_many(
                Duration::from_secs(retry_after_seconds),
                detail,
            ))
        }
        Some(SendOutcome::MediaFailed { reason }) => Err(Problem::field("/media/url", reason)),
        Some(SendOutcome::Refused) => Err(Problem::field(
            "/to",
            "WhatsApp takes no message to this number or group",
        )),
        None => Ok((StatusCode::ACCEPTED, answer("unknown"))),
    }
}

fn check(app: &AppState, wanted: &Send) -> Result<(), Problem> {
    let mut errors = Vec::new();
    if let Some(media) = &wanted.media
        && let Err(error) = check_url(&media.url, app.egress.allow_http, &app.egress.allow_cidrs)
    {
        errors.push(FieldError {
            pointer: "/media/url".into(),
            detail: error.to_string(),
        });
    }
    let mut wrong = |pointer: &'static str, detail: &str| {
        errors.push(FieldError {
            pointer: pointer.into(),
            detail: detail.to_owned(),
        });
    };
    let group = wanted.to.strip_suffix("@g.us").is_some_and(|id| {
        (5..=40).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
    });
    if !group && wanted.to.parse::<Phone>().is_err() {
        wrong(
            "/to",
            "is a phone number of digits alone, or a group's id as webhooks show it, …@g.us",
        );
    }
    let chars = wanted.text.chars().count();
    if chars > TEXT_CHARS_MAX || chars == 0 && wanted.media.is_none() {
        wrong(
            "/text",
            "has 1 to 4096 characters; none are needed beside media",
        );
    }
    let name = wanted
        .media
        .as_ref()
        .and_then(|media| media.file_name.as_ref());
    if name.is_some_and(|name| !(1..=FILE_NAME_CHARS_MAX).contains(&name.chars().count())) {
        wrong("/media/file_name", "has 1 to 255 characters");
    }
    if let Some(reply) = &wanted.reply_to {
        if reply.message_id.parse::<MessageId>().is_err() {
            wrong("/reply_to/message_id", "is the message_id of a webhook");
        }
        if reply.from.parse::<Phone>().is_err() {
            wrong(
                "/reply_to/from",
                "is the phone number of the author of the message",
            );
        }
    }
    if wanted.session_id.is_some() == wanted.phone_number.is_some() {
        wrong("/session_id", "give either session_id or phone_number");
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Problem::fields(errors))
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
    for session in sessions.list(client).await? {
        let status = sessions.status(client, session.id).await?;
        if status.is_some_and(|status| status.phone.as_ref() == Some(&phone)) {
            return Ok(session.id);
        }
    }
    Err(Problem::not_found())
}

/// What a request's idempotency key stands for.
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
        let Some(key) = headers.get("idempotency-key") else {
            let message_id = id(format!("3EB0{:018X}", rand::random::<u128>() >> 56))?;
            return Ok(Self {
                message_id,
                is_sent: false,
                key: None,
                revision: None,
            });
        };
        let valid = key
            .to_str()
            .ok()
            .filter(|key| (1..=KEY_CHARS_MAX).contains(&key.len()));
        let key = valid.ok_or_else(|| {
            Problem::field(
                "?idempotency-key",
                format!("has 1 to {KEY_CHARS_MAX} printable ASCII characters"),
            )
        })?;
        let name = dedupe_id(&["send", &client.to_string(), &session.to_string(), key]);
        let reply = wanted
            .reply_to
            .as_ref()
            .map_or("", |reply| reply.message_id.as_str());
        let url = wanted.media.as_ref().map_or("", |media| media.url.as_str());
        let content = dedupe_id(&[&wanted.to, &wanted.text, url, reply]);
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
        // The content too: a key that is free again may stand for another message, which is not to
        // be taken for the first.
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

    /// Keeps the key for what was sent, or may have been; frees it when nothing was.
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
