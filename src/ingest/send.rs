//! Sending through a session, no faster than people write.

use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::time::Instant;
use whatsapp_rust::{
    Jid, SendOptions,
    download::MediaType,
    prelude::{Client, MessageField, wa},
};

use super::Context;
use crate::model::{OutboundMedia, OutboundMessage, SendOutcome};

/// A file from somewhere else.
pub struct Fetched {
    /// All of it.
    pub bytes: Vec<u8>,
    /// Its media type, like `image/jpeg`; empty when it is not known.
    pub content_type: String,
}

/// A file, or why it cannot be had.
pub type Fetching = Pin<Box<dyn Future<Output = Result<Fetched, String>> + Send>>;

/// Gets the file behind a URL; given by whoever may go out to the internet.
pub type Fetch = Arc<dyn Fn(String) -> Fetching + Send + Sync>;

/// Messages that may follow each other at once.
const BURST: u32 = 5;
/// How long a message may wait for its turn; longer waits are refused.
const WAIT_MAX: Duration = Duration::from_secs(3);

/// When a session may send: so many a minute after a small burst (the generic cell rate algorithm).
pub(super) struct Pace {
    gap: Duration,
    next: Instant,
}

impl Pace {
    pub(super) fn new(per_minute: u32, now: Instant) -> Self {
        Self {
            gap: Duration::from_secs(60) / per_minute.max(1),
            next: now,
        }
    }

    /// When the message may go, or how long until there is room for it.
    pub(super) fn take(&mut self, now: Instant) -> Result<Instant, Duration> {
        let begin = self.next.max(now);
        // Up to a burst ahead of its time.
        let at = begin
            .checked_sub(self.gap * (BURST - 1))
            .map_or(now, |early| early.max(now));
        if at > now + WAIT_MAX {
            return Err(at - now);
        }
        self.next = begin + self.gap;
        Ok(at)
    }
}

/// Hands a message to WhatsApp.
pub(super) async fn send(
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
        Some(media) => match with_file(client, context, outgoing, media).await {
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
    client: &Arc<Client>,
    context: &Context,
    outgoing: &OutboundMessage,
    media: &OutboundMedia,
) -> Result<wa::Message, SendOutcome> {
    let failed = |reason: &str| SendOutcome::MediaFailed {
        reason: reason.to_owned(),
    };
    // Waits no longer than the whole may take.
    let Ok(_permit) = context.files.acquire().await else {
        return Err(failed("the node stops"));
    };
    let Fetched {
        bytes,
        content_type,
    } = (context.fetch)(media.url.clone())
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
    fn a_burst_goes_at_once_and_then_one_after_the_other() {
        let now = Instant::now();
        let mut pace = Pace::new(60, now);
        let second = Duration::from_secs(1);
        let first: Vec<_> = (0..5).map(|_| pace.take(now)).collect();
        assert_eq!(first, [Ok(now); 5]);
        assert_eq!(
            [pace.take(now), pace.take(now), pace.take(now)],
            [1, 2, 3].map(|n| Ok(now + second * n))
        );
        assert_eq!(
            pace.take(now),
            Err(second * 4),
            "refused, and it costs nothing"
        );
        assert_eq!(pace.take(now + second), Ok(now + second * 4));
        assert_eq!(
            pace.take(now + second * 60),
            Ok(now + second * 60),
            "it fills up again"
        );
    }
}
