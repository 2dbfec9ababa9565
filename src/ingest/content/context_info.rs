//! What a message refers to: the message it quotes, people it mentions, its origin.

use serde_json::{Value, json};
use whatsapp_rust::prelude::wa;

use super::model::{Content, LIST_MAX, object, short};

/// What the message refers to. Each kind has a field of its own for that.
pub(super) fn context(base: &wa::Message) -> Option<&wa::ContextInfo> {
    macro_rules! first {
        ($($field:ident),*) => {
            None$(.or_else(|| base.$field.as_option().and_then(|m| m.context_info.as_option())))*
        };
    }
    first!(
        extended_text_message,
        image_message,
        video_message,
        audio_message,
        document_message,
        sticker_message,
        location_message,
        contact_message,
        buttons_response_message,
        template_button_reply_message,
        list_response_message,
        poll_creation_message
    )
}

pub(super) fn with_context(content: Content, info: &wa::ContextInfo) -> Content {
    let quoted = info.stanza_id.as_ref().map(|id| {
        let from = info
            .participant
            .as_deref()
            .and_then(|jid| jid.split(['@', ':']).next())
            .map(str::to_owned);
        object(json!({"message_id": short(Some(id)), "from": short(from.as_ref())}))
    });
    let mentions: Vec<_> = info
        .mentioned_jid
        .iter()
        .take(LIST_MAX)
        .filter_map(|jid| jid.split(['@', ':']).next())
        .map(|name| short(Some(&name.to_owned())))
        .collect();
    content
        .with("quoted", quoted.unwrap_or_default())
        .with(
            "mentions",
            if mentions.is_empty() {
                Value::Null
            } else {
                json!(mentions)
            },
        )
        .with(
            "forwarded",
            info.is_forwarded
                .filter(|forwarded| *forwarded)
                .map_or(Value::Null, Value::from),
        )
}
