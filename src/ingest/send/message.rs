//! Making the message that WhatsApp gets.

use std::sync::Arc;

use whatsapp_rust::{
    download::MediaType,
    prelude::{Client, MessageField, wa},
};

use super::file_type::{FileType, opus_seconds};
use crate::{
    ingest::{context::Context, fetch::Fetched},
    model::{ClientId, OutboundMedia, OutboundMessage, Quoted, SendOutcome, ShownAs, WhatsAppId},
};

/// The id with its domain.
pub(super) fn address(id: &str) -> String {
    id.parse::<WhatsAppId>()
        .map_or_else(|_| id.to_owned(), |id| id.address())
}

/// What the message refers to. `own` is the account itself.
pub(super) fn quoted(reply: Option<&Quoted>, own: &str) -> MessageField<wa::ContextInfo> {
    let Some(reply) = reply else {
        return MessageField::none();
    };
    let participant = reply.from.as_deref().map_or(own.to_owned(), address);
    MessageField::some(wa::ContextInfo {
        stanza_id: Some(reply.message_id.clone()),
        participant: Some(participant),
        remote_jid: reply.chat.as_deref().map(address),
        // A quotation without a quoted message is not shown as one.
        quoted_message: MessageField::some(wa::Message {
            conversation: Some(reply.content.clone().unwrap_or_default()),
            ..Default::default()
        }),
        ..Default::default()
    })
}

pub(super) fn own_address(client: &Client) -> String {
    let own = client.pn();
    own.map_or_else(String::new, |jid| jid.to_non_ad().to_string())
}

fn caption(outgoing: &OutboundMessage) -> Option<String> {
    outgoing.text.clone().filter(|text| !text.is_empty())
}

pub(super) fn text(client: &Client, outgoing: &OutboundMessage) -> wa::Message {
    if outgoing.reply_to.is_none() {
        return wa::Message {
            conversation: outgoing.text.clone(),
            ..Default::default()
        };
    }
    let text = wa::message::ExtendedTextMessage {
        text: outgoing.text.clone(),
        context_info: quoted(outgoing.reply_to.as_ref(), &own_address(client)),
        ..Default::default()
    };
    wa::Message {
        extended_text_message: MessageField::some(text),
        ..Default::default()
    }
}

fn failed(reason: &str) -> SendOutcome {
    SendOutcome::MediaFailed {
        reason: reason.to_owned(),
    }
}

fn invalid(pointer: &str, reason: &str) -> SendOutcome {
    SendOutcome::InvalidField {
        pointer: pointer.to_owned(),
        reason: reason.to_owned(),
    }
}

/// As what the file goes, or why what is wanted does not fit.
fn media_type(
    file: &FileType,
    media: &OutboundMedia,
    caption: Option<&str>,
) -> Result<MediaType, SendOutcome> {
    let kind = match media.shown_as {
        None => file.kind,
        Some(ShownAs::Document) => MediaType::Document,
        Some(ShownAs::Sticker) if file.mime_type == "image/webp" => MediaType::Sticker,
        Some(ShownAs::Sticker) => {
            let reason = "a sticker is a WebP picture: give such a file, or leave this out";
            return Err(invalid("/media/shown_as", reason));
        }
    };
    let what = match kind {
        MediaType::Audio => "audio",
        MediaType::Sticker => "a sticker",
        _ => return Ok(kind),
    };
    if caption.is_none() {
        return Ok(kind);
    }
    let reason = format!("{what} has no caption: send the text as a message of its own");
    Err(invalid("/text", &reason))
}

/// Whether audio goes as a voice note, or why it cannot.
fn is_voice(file: &FileType, media: &OutboundMedia) -> Result<bool, SendOutcome> {
    if media.voice == Some(true) && !file.is_opus() {
        let reason = "a voice note is Opus in Ogg: give such a file, or leave this out";
        return Err(invalid("/media/voice", reason));
    }
    Ok(media.voice.unwrap_or(file.is_opus()))
}

/// Fetches the file, stores it at WhatsApp, and makes the message that refers to it.
pub(super) async fn with_file(
    owner: ClientId,
    client: &Arc<Client>,
    context: &Context,
    outgoing: &OutboundMessage,
    media: &OutboundMedia,
) -> Result<wa::Message, SendOutcome> {
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
    let file = FileType::of(&content_type, &bytes);
    let caption = caption(outgoing);
    let kind = media_type(&file, media, caption.as_deref())?;
    let is_voice = is_voice(&file, media)?;
    let seconds = opus_seconds(&bytes);
    let stored = client
        .upload(bytes, kind, Default::default())
        .await
        .map_err(|_| failed("WhatsApp's media servers did not take it"))?;
    let context_info = quoted(outgoing.reply_to.as_ref(), &own_address(client));
    macro_rules! stored {
        ($field:ident, $type:ident { $($own:ident: $value:expr),* }) => {
            wa::Message {
                $field: MessageField::some(wa::message::$type {
                    url: Some(stored.url),
                    direct_path: Some(stored.direct_path),
                    media_key: Some(stored.media_key.to_vec()),
                    media_key_timestamp: Some(stored.media_key_timestamp),
                    file_sha256: Some(stored.file_sha256.to_vec()),
                    file_enc_sha256: Some(stored.file_enc_sha256.to_vec()),
                    file_length: Some(stored.file_length),
                    mimetype: Some(file.mime_type),
                    context_info,
                    $($own: $value,)*
                    ..Default::default()
                }),
                ..Default::default()
            }
        };
    }
    Ok(match kind {
        MediaType::Sticker => stored!(sticker_message, StickerMessage {}),
        MediaType::Image => stored!(image_message, ImageMessage { caption: caption }),
        MediaType::Video => stored!(video_message, VideoMessage { caption: caption }),
        MediaType::Audio => stored!(
            audio_message,
            AudioMessage {
                ptt: is_voice.then_some(true),
                seconds: seconds
            }
        ),
        _ => stored!(
            document_message,
            DocumentMessage {
                caption: caption,
                file_name: media.file_name.clone()
            }
        ),
    })
}
