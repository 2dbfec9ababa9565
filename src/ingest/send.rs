//! Sending through a session, no faster than people write.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use whatsapp_rust::{
    Jid, SendOptions,
    download::MediaType,
    prelude::{Client, MessageField, wa},
};

use super::{context::Context, fetch::Fetched};
use crate::model::{ClientId, OutboundMedia, OutboundMessage, SendOutcome};

/// Messages that may go at once.
const BURST_MESSAGES: u32 = 5;
/// How long a message may wait for its turn; longer waits are refused.
const TURN_WAIT_MAX: Duration = Duration::from_secs(3);

/// Limits how fast a session sends: a small burst, then evenly (the generic cell rate algorithm).
pub(super) struct SendLimiter {
    gap: Duration,
    next: Instant,
}

impl SendLimiter {
    pub(super) fn new(per_minute: u32, now: Instant) -> Self {
        Self {
            gap: Duration::from_secs(60) / per_minute.max(1),
            next: now,
        }
    }

    /// When the next message may go, or how long until there is room for one.
    pub(super) fn take(&mut self, now: Instant) -> Result<Instant, Duration> {
        let begin = self.next.max(now);
        // Up to a burst ahead of its time.
        let at = begin
            .checked_sub(self.gap * (BURST_MESSAGES - 1))
            .map_or(now, |early| early.max(now));
        if at > now + TURN_WAIT_MAX {
            return Err(at - now);
        }
        self.next = begin + self.gap;
        Ok(at)
    }
}

/// Hands a message to WhatsApp. `owner` is whose session it is.
pub(super) async fn send(
    owner: ClientId,
    client: &Arc<Client>,
    context: &Context,
    outgoing: &OutboundMessage,
) -> SendOutcome {
    if !client.is_logged_in() {
        return SendOutcome::NotConnected;
    }
    let Ok(to) = address(&outgoing.to).parse::<Jid>() else {
        return SendOutcome::Refused;
    };
    let message = match &outgoing.media {
        None => text(outgoing),
        Some(media) => match with_file(owner, client, context, outgoing, media).await {
            Ok(message) => message,
            Err(outcome) => return outcome,
        },
    };
    let options = SendOptions::default().with_message_id(outgoing.message_id.as_str());
    match client.send_message_with_options(to, message, options).await {
        Ok(_) => SendOutcome::Sent,
        Err(_) => {
            // The error's text may hold numbers.
            tracing::warn!("WhatsApp's client refused to send a message");
            SendOutcome::Refused
        }
    }
}

fn address(to: &str) -> String {
    if to.contains('@') {
        to.to_owned()
    } else {
        format!("{to}@s.whatsapp.net")
    }
}

fn quoted(outgoing: &OutboundMessage) -> MessageField<wa::ContextInfo> {
    let Some(reply) = &outgoing.reply_to else {
        return MessageField::none();
    };
    MessageField::some(wa::ContextInfo {
        stanza_id: Some(reply.message_id.clone()),
        participant: Some(address(&reply.from)),
        // A quotation without a quoted message is not shown as one.
        quoted_message: MessageField::some(wa::Message {
            conversation: Some(String::new()),
            ..Default::default()
        }),
        ..Default::default()
    })
}

fn text(outgoing: &OutboundMessage) -> wa::Message {
    if outgoing.reply_to.is_none() {
        return wa::Message {
            conversation: Some(outgoing.text.clone()),
            ..Default::default()
        };
    }
    let text = wa::message::ExtendedTextMessage {
        text: Some(outgoing.text.clone()),
        context_info: quoted(outgoing),
        ..Default::default()
    };
    wa::Message {
        extended_text_message: MessageField::some(text),
        ..Default::default()
    }
}

/// Fetches the file, stores it at WhatsApp, and makes the message that refers to it.
async fn with_file(
    owner: ClientId,
    client: &Arc<Client>,
    context: &Context,
    outgoing: &OutboundMessage,
    media: &OutboundMedia,
) -> Result<wa::Message, SendOutcome> {
    let failed = |reason: &str| SendOutcome::MediaFailed {
        reason: reason.to_owned(),
    };
    // The caller's timeout bounds this wait.
    let Ok(_permit) = context.files.acquire().await else {
        return Err(failed("the node stops"));
    };
    let Fetched {
        bytes,
        content_type,
    } = (context.fetch)(owner, media.url.clone())
        .await
        .map_err(|reason| SendOutcome::MediaFailed { reason })?;
    let kind = match content_type.split('/').next() {
        Some("image") => MediaType::Image,
        Some("video") => MediaType::Video,
        Some("audio") => MediaType::Audio,
        _ => MediaType::Document,
    };
    let stored = client
        .upload(bytes, kind, Default::default())
        .await
        .map_err(|_| failed("WhatsApp's media servers did not take it"))?;
    let caption = Some(outgoing.text.clone()).filter(|text| !text.is_empty());
    macro_rules! stored {
        ($field:ident, $type:ident { $($own:ident: $value:expr),* }) => {
            wa::Message {
                $field: MessageField::some(wa::message::$type {
                    url: Some(stored.url.clone()),
                    direct_path: Some(stored.direct_path.clone()),
                    media_key: Some(stored.media_key.to_vec()),
                    media_key_timestamp: Some(stored.media_key_timestamp),
                    file_sha256: Some(stored.file_sha256.to_vec()),
                    file_enc_sha256: Some(stored.file_enc_sha256.to_vec()),
                    file_length: Some(stored.file_length),
                    mimetype: Some(content_type.clone()),
                    context_info: quoted(outgoing),
                    $($own: $value,)*
                    ..Default::default()
                }),
                ..Default::default()
            }
        };
    }
    Ok(match kind {
        MediaType::Image => stored!(image_message, ImageMessage { caption: caption }),
        MediaType::Video => stored!(video_message, VideoMessage { caption: caption }),
        MediaType::Audio => stored!(audio_message, AudioMessage {}),
        _ => stored!(
            document_message,
            DocumentMessage {
                caption: caption,
                file_name: media.file_name.clone()
            }
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limiter_lets_a_burst_go_at_once_and_spaces_the_rest() {
        let now = Instant::now();
        let mut limiter = SendLimiter::new(60, now);
        let second = Duration::from_secs(1);
        let first: Vec<_> = (0..5).map(|_| limiter.take(now)).collect();
        assert_eq!(first, [Ok(now); 5]);
        assert_eq!(
            [limiter.take(now), limiter.take(now), limiter.take(now)],
            [1, 2, 3].map(|n| Ok(now + second * n))
        );
        assert_eq!(
            limiter.take(now),
            Err(second * 4),
            "refused, and it costs nothing"
        );
        assert_eq!(limiter.take(now + second), Ok(now + second * 4));
        assert_eq!(
            limiter.take(now + second * 60),
            Ok(now + second * 60),
            "it fills up again"
        );
    }
}
