//! Reading a message: its wrappers, its kind, and what it refers to.

use serde_json::json;
use whatsapp_rust::{
    prelude::{MessageExt, wa},
    waproto::whatsapp::{
        message::protocol_message::Type as ProtocolType, message_association::AssociationType,
    },
};

use super::{
    context_info::{context, with_context},
    interactive::interactive,
    media::media,
    model::{Content, object, short},
    other::other,
    peel::Peeled,
    plain::plain,
    poll::{poll, vote},
    reply::reply,
    social::social,
    target::Target,
    trade::trade,
};
use crate::model::Kind;

/// What a message says. `None` for a message that only clients and phones exchange, for example
/// with keys: such a message is never published.
pub(in crate::ingest) fn read(message: &wa::Message) -> Option<Content> {
    let peeled = Peeled::of(message);
    let mut content = read_alone(&peeled)?;
    // What an edit refers to is in the message that it holds.
    if let Some(info) = context(peeled.base) {
        content = with_context(content, info);
    }
    if let Some(association) = peeled.association {
        content = with_association(content, association);
    }
    if peeled.is_view_once {
        content = content.with("view_once", true.into());
    }
    Some(content)
}

/// What a message inside another one says: quoted, or a note. What it refers to is left out, so
/// that a chain of quotes ends.
pub(super) fn read_inner(message: &wa::Message) -> Option<Content> {
    read_alone(&Peeled::of(message))
}

fn read_alone(peeled: &Peeled<'_>) -> Option<Content> {
    if peeled.is_noise {
        return None;
    }
    let base = peeled.base;
    if let Some(protocol) = base.protocol_message.as_option() {
        return protocol_content(protocol);
    }
    media(base)
        .or_else(|| plain(base))
        .or_else(|| poll(base))
        .or_else(|| vote(base))
        .or_else(|| reply(base))
        .or_else(|| interactive(base))
        .or_else(|| trade(base))
        .or_else(|| social(base))
        .or_else(|| other(base))
}

fn protocol_content(protocol: &wa::message::ProtocolMessage) -> Option<Content> {
    let key = protocol.key.as_option();
    let id = key.and_then(|key| key.id.as_ref());
    match protocol.r#type? {
        ProtocolType::REVOKE => {
            let content = Content::new(Kind::Revoke, None).with("revoked_message_id", short(id));
            Some(content.about(Target::of(key)))
        }
        ProtocolType::MESSAGE_EDIT => {
            let edited = Peeled::of(protocol.edited_message.as_option()?).base;
            let text = edited.text_content().or_else(|| edited.get_caption());
            let mut content = Content::new(Kind::Edit, text).with("edited_message_id", short(id));
            if let Some(info) = context(edited) {
                content = with_context(content, info);
            }
            Some(content.about(Target::of(key)))
        }
        _ => None,
    }
}

/// The album of a picture, or the picture of which it is another size.
fn with_association(content: Content, association: &wa::MessageAssociation) -> Content {
    let parent = association.parent_message_key.as_option();
    let parent = short(parent.and_then(|key| key.id.as_ref()));
    match association.association_type {
        Some(AssociationType::MEDIA_ALBUM) => {
            let album = json!({"message_id": parent, "index": association.message_index});
            content.with("album", object(album))
        }
        Some(
            AssociationType::HD_IMAGE_DUAL_UPLOAD
            | AssociationType::HD_VIDEO_DUAL_UPLOAD
            | AssociationType::HEVC_VIDEO_DUAL_UPLOAD,
        ) => content.with("twin_of", object(json!({"message_id": parent}))),
        _ => content,
    }
}
