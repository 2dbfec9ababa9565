//! Reading a message: its wrappers, its kind, and what it refers to.

use whatsapp_rust::{
    prelude::{MessageExt, wa},
    waproto::whatsapp::message::protocol_message::Type as ProtocolType,
};

use super::{
    context_info::{context, with_context},
    media::media,
    model::{Content, short},
    plain::plain,
    reply::reply,
};
use crate::model::Kind;

/// What a message says. `None` for a message that only clients and phones exchange, for example
/// with keys: such a message is never published.
pub(in crate::ingest) fn read(message: &wa::Message) -> Option<Content> {
    let base = message.get_base_message();
    if let Some(protocol) = base.protocol_message.as_option() {
        return protocol_content(protocol);
    }
    let mut content = media(base)
        .or_else(|| plain(base))
        .or_else(|| reply(base))
        .unwrap_or_else(Content::unknown);
    // A key for a group's messages comes with a message or alone. Alone it says nothing.
    if content.kind == Kind::Unknown && base.sender_key_distribution_message.is_set() {
        return None;
    }
    if let Some(info) = context(base) {
        content = with_context(content, info);
    }
    if message.is_view_once() {
        content = content.with("view_once", true.into());
    }
    Some(content)
}

fn protocol_content(protocol: &wa::message::ProtocolMessage) -> Option<Content> {
    let id = protocol.key.as_option().and_then(|key| key.id.as_ref());
    match protocol.r#type? {
        ProtocolType::REVOKE => {
            Some(Content::new(Kind::Revoke, None).with("revoked_message_id", short(id)))
        }
        ProtocolType::MESSAGE_EDIT => {
            let edited = protocol.edited_message.as_option()?;
            let text = edited.text_content().or_else(|| edited.get_caption());
            Some(Content::new(Kind::Edit, text).with("edited_message_id", short(id)))
        }
        _ => None,
    }
}
