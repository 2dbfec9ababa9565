//! Idempotency keys of requests to send.

use axum::http::HeaderMap;

use super::{
    super::{
        AppState,
        idempotency::idempotency_key,
        problem::{Code, Problem},
    },
    Send,
};
use crate::{
    bus::SendClaim,
    model::{ClientId, MessageId, OutboundKind, SendOutcome, SessionId, ShownAs},
    wire::dedupe_id,
};

/// A hash of everything that makes one message another.
pub(super) fn content_hash(wanted: &Send, kind: Option<&OutboundKind>) -> String {
    let media = wanted.media.as_ref();
    let reply = wanted.reply_to.as_ref();
    let mut parts: Vec<&str> = vec![
        &wanted.to,
        &wanted.text,
        media.map_or("", |media| &media.url),
        // A missing name and an empty one differ, but an empty one is refused.
        media
            .and_then(|media| media.file_name.as_deref())
            .unwrap_or_default(),
        reply.map_or("", |reply| &reply.message_id),
        reply
            .and_then(|reply| reply.from.as_deref())
            .unwrap_or_default(),
    ];
    // Only where they are given: keys of an earlier version keep their hashes.
    match media.and_then(|media| media.voice) {
        Some(true) => parts.push("voice"),
        Some(false) => parts.push("no voice"),
        None => {}
    }
    match media.and_then(|media| media.shown_as) {
        Some(ShownAs::Document) => parts.push("document"),
        Some(ShownAs::Sticker) => parts.push("sticker"),
        None => {}
    }
    let kind = kind.map(|kind| serde_json::to_string(kind).unwrap_or_default());
    parts.extend(kind.as_deref());
    if let Some(reply) = reply {
        let further = [reply.content.as_deref(), reply.chat.as_deref()];
        let flags = [reply.from_me, reply.is_status];
        if further.iter().any(Option::is_some) || flags.contains(&true) {
            parts.extend(further.map(Option::unwrap_or_default));
            parts.extend(flags.map(|is_set| if is_set { "1" } else { "0" }));
        }
    }
    dedupe_id(&parts)
}

/// The message that a request's idempotency key names.
pub(super) struct Claim {
    pub(super) message_id: MessageId,
    pub(super) is_sent: bool,
    /// The key's name in the bucket, and a hash of the message.
    key: Option<(String, String)>,
    /// When this request was the first to use it.
    revision: Option<u64>,
}

impl Claim {
    /// The same key and message give the same id: WhatsApp shows a message that is sent again under
    /// its id once.
    pub(super) async fn make(
        app: &AppState,
        client: ClientId,
        session: SessionId,
        headers: &HeaderMap,
        content: String,
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
    pub(super) async fn end(&self, app: &AppState, outcome: Option<&SendOutcome>) {
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
