//! Sending through a session.

mod check;
mod claim;
mod kinds;

use axum::{
    Json,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use serde::Deserialize;
use serde_json::{Value, json};

pub(super) use self::check::take_receiver;
use self::{
    check::check,
    claim::{Claim, content_hash},
};
use super::{
    AppState,
    auth::Caller,
    body::Body,
    problem::Problem,
    session_call::{ACCEPT_TIMEOUT, Named, status_of},
};
use crate::model::{
    MessageId, OutboundKind, OutboundMedia, OutboundMessage, Quoted, SessionRequest, ShownAs,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Send {
    session_id: Option<String>,
    phone_number: Option<String>,
    to: String,
    #[serde(default)]
    text: String,
    media: Option<Media>,
    location: Option<kinds::Location>,
    contacts: Option<Vec<kinds::Contact>>,
    poll: Option<kinds::Poll>,
    reaction: Option<kinds::Reaction>,
    edit: Option<kinds::Edit>,
    delete: Option<kinds::Target>,
    reply_to: Option<Reply>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Media {
    url: String,
    file_name: Option<String>,
    voice: Option<bool>,
    shown_as: Option<ShownAs>,
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
    let kind = check(&app, &mut wanted)?;
    let named = Named::new(wanted.session_id.as_deref(), wanted.phone_number.as_deref());
    let session = named.find(&app, client).await?;
    let content = content_hash(&wanted, kind.as_ref());
    let claim = Claim::make(&app, client, session, &headers, content).await?;
    let message_id = claim.message_id.clone();
    let answer = |status| {
        Json(json!({"message_id": message_id.as_str(), "session_id": session, "status": status}))
    };
    if claim.is_sent {
        // Sending again would bring no second message, but its receipts a second time.
        return Ok((StatusCode::ACCEPTED, answer("sent")));
    }
    let outgoing = Box::new(outgoing(&message_id, wanted, kind));
    let outcome = app
        .bus
        .ask_session(
            client,
            session,
            &SessionRequest::Send(outgoing),
            ACCEPT_TIMEOUT,
        )
        .await?;
    claim.end(&app, outcome.as_ref()).await;
    let status = status_of(outcome)?;
    Ok((StatusCode::ACCEPTED, answer(status)))
}

fn outgoing(message_id: &MessageId, wanted: Send, kind: Option<OutboundKind>) -> OutboundMessage {
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
        shown_as: media.shown_as,
    });
    OutboundMessage {
        message_id: message_id.clone(),
        to: wanted.to,
        text: kind.is_none().then_some(wanted.text),
        media,
        kind,
        reply_to,
    }
}
