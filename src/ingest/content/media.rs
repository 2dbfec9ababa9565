//! Images, videos, audio, documents and stickers.

use serde_json::{Value, json};
use whatsapp_rust::{download::MediaType, prelude::wa};

use super::model::{Content, hex, merged, object, short};
use crate::{
    ingest::media::{Described, Reference},
    model::Kind,
};

macro_rules! media_of {
    ($kind:expr, $type:expr, $media:expr, $caption:expr) => {
        media_of!($kind, $type, $media, $caption, None)
    };
    ($kind:expr, $type:expr, $media:expr, $caption:expr, $file_name:expr) => {{
        let media = $media;
        let mut content = Content::new($kind, $caption);
        let file = Described {
            path: media.direct_path.as_deref(),
            key: media.media_key.as_deref(),
            sha256: media.file_sha256.as_deref(),
            encrypted_sha256: media.file_enc_sha256.as_deref(),
            length: media.file_length,
            mime_type: media.mimetype.as_deref(),
            file_name: $file_name,
        };
        content.media = Reference::new($type, &file);
        let description = object(json!({
            "mime_type": short(media.mimetype.as_ref()),
            "size": media.file_length,
            "sha256": media.file_sha256.as_deref().map(hex),
        }));
        (content, description)
    }};
}

/// Adds further fields of the media to their description.
fn described((content, description): (Content, Value), further: Value) -> Content {
    content.with("media", merged(description, further))
}

pub(super) fn media(base: &wa::Message) -> Option<Content> {
    let video_or_note = || {
        let note = || base.ptv_message.as_option();
        base.video_message.as_option().or_else(note)
    };
    let image = base.image_message.as_option().map(image);
    image
        .or_else(|| video_or_note().map(video))
        .or_else(|| audio(base))
        .or_else(|| base.document_message.as_option().map(document))
        .or_else(|| sticker(base))
}

pub(super) fn image(m: &wa::message::ImageMessage) -> Content {
    let both = media_of!(Kind::Image, MediaType::Image, m, m.caption.as_deref());
    described(both, json!({"width": m.width, "height": m.height}))
}

/// A video, or a video note.
pub(super) fn video(m: &wa::message::VideoMessage) -> Content {
    let both = media_of!(Kind::Video, MediaType::Video, m, m.caption.as_deref());
    let gif = m.gif_playback.filter(|gif| *gif);
    let further = json!({"width": m.width, "height": m.height, "seconds": m.seconds, "gif": gif});
    described(both, further)
}

fn audio(base: &wa::Message) -> Option<Content> {
    let m = base.audio_message.as_option()?;
    let both = media_of!(Kind::Audio, MediaType::Audio, m, None);
    let further = json!({"seconds": m.seconds, "voice": m.ptt.unwrap_or(false)});
    Some(described(both, further))
}

pub(super) fn document(m: &wa::message::DocumentMessage) -> Content {
    let name = m.file_name.as_ref().or(m.title.as_ref());
    let both = media_of!(
        Kind::Document,
        MediaType::Document,
        m,
        m.caption.as_deref(),
        name.map(String::as_str)
    );
    let further = json!({"file_name": short(name), "pages": m.page_count});
    described(both, further)
}

fn sticker(base: &wa::Message) -> Option<Content> {
    let m = base.sticker_message.as_option()?;
    let both = media_of!(Kind::Sticker, MediaType::Sticker, m, None);
    let further = json!({"width": m.width, "height": m.height, "animated": m.is_animated});
    Some(described(both, further))
}
