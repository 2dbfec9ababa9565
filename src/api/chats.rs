//! What a session shows in a chat beside messages: that they were read, and that somebody writes.

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    AppState,
    auth::Caller,
    body::Body,
    problem::{FieldErrors, Problem},
    send::take_receiver,
    session_call::{self, Named, status_of},
};
use crate::model::{ClientId, MessageId, ReadMark, SessionAct, TypingState, WhatsAppId};

/// As many as WhatsApp takes at once.
const MESSAGES_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Read {
    session_id: Option<String>,
    phone_number: Option<String>,
    chat: String,
    from: Option<String>,
    message_ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Typing {
    session_id: Option<String>,
    phone_number: Option<String>,
    to: String,
    state: TypingState,
}

/// `POST /api/chats/read`
pub(super) async fn read(
    State(app): State<AppState>,
    Caller(client): Caller,
    Body(wanted): Body<Read>,
) -> Result<Json<Value>, Problem> {
    let mut errors = FieldErrors::default();
    let named = Named::new(wanted.session_id.as_deref(), wanted.phone_number.as_deref());
    named.check(&mut errors);
    let chat = errors.take("/chat", wanted.chat.parse::<WhatsAppId>());
    let from = wanted.from.as_ref();
    let from = from.and_then(|from| errors.take("/from", from.parse::<WhatsAppId>()));
    let is_group = matches!(chat, Some(WhatsAppId::Group(_)));
    let is_named = !is_group || from.as_ref().is_some_and(WhatsAppId::is_person);
    errors.check(is_named, "/from", || {
        "is needed in a group: the author of the messages".to_owned()
    });
    let count = wanted.message_ids.len();
    errors.check((1..=MESSAGES_MAX).contains(&count), "/message_ids", || {
        format!("has 1 to {MESSAGES_MAX} ids")
    });
    for (number, id) in wanted.message_ids.iter().enumerate() {
        errors.take(format!("/message_ids/{number}"), id.parse::<MessageId>());
    }
    let mark = ReadMark {
        chat: chat.map(|chat| chat.to_string()).unwrap_or_default(),
        from: from.map(|from| from.to_string()),
        message_ids: wanted.message_ids.clone(),
    };
    let act = errors.unless_any(SessionAct::MarkRead(mark))?;
    ask(&app, client, &named, act).await
}

/// `POST /api/chats/typing`
pub(super) async fn typing(
    State(app): State<AppState>,
    Caller(client): Caller,
    Body(wanted): Body<Typing>,
) -> Result<Json<Value>, Problem> {
    let mut errors = FieldErrors::default();
    let named = Named::new(wanted.session_id.as_deref(), wanted.phone_number.as_deref());
    named.check(&mut errors);
    let to = take_receiver(&wanted.to, &mut errors);
    let act = SessionAct::ShowTyping {
        to: to.unwrap_or_default(),
        state: wanted.state,
    };
    let act = errors.unless_any(act)?;
    ask(&app, client, &named, act).await
}

async fn ask(
    app: &AppState,
    client: ClientId,
    named: &Named<'_>,
    act: SessionAct,
) -> Result<Json<Value>, Problem> {
    let session = named.find(app, client).await?;
    let status = status_of(session_call::act(app, client, session, act).await?)?;
    Ok(Json(json!({"session_id": session, "status": status})))
}
